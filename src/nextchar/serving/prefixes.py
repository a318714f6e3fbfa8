"""A cache from the beginnings of texts to the states after them: a prompt that was read before is not read again."""

from collections import Counter, OrderedDict
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from nextchar.sampling.protocol import PromptState

BLOCK = 512
"""Ids that are digested together. States are kept at multiples of it, too, so that texts may share a beginning."""
DIGEST_SIZE = 16
OVERHEAD = 1024
"""Bytes of the objects of one state beside its arrays."""


class PrefixCache:
    """States by the ids before them, of which the least recently used are dropped. A state is a few KB, and exact.

    Args:
        size: The most bytes of all states.
    """

    def __init__(self, size: int) -> None:
        self._size, self._used = size, 0
        self._states: OrderedDict[bytes, tuple[int, PromptState]] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def put(self, ids: npt.NDArray[np.int64], state: PromptState) -> None:
        """Keep the state after ids `(T,)`, of which the caller must not change the arrays."""
        key = _keys(ids, [len(ids)])[0]
        if key in self._states:
            self._states.move_to_end(key)
            return
        self._states[key] = (len(ids), state)
        self._lengths[len(ids)] += 1
        self._used += _bytes(state)
        while self._used > self._size:
            _, (length, dropped) = self._states.popitem(last=False)
            self._used -= _bytes(dropped)
            self._lengths[length] -= 1
            if not self._lengths[length]:
                del self._lengths[length]

    def longest(self, ids: npt.NDArray[np.int64]) -> tuple[int, PromptState | None]:
        """Return the length of the longest beginning of ids `(T,)` whose state is kept, and the state; or 0 and None."""
        lengths = sorted((length for length in self._lengths if 0 < length <= len(ids)), reverse=True)
        for length, key in zip(lengths, _keys(ids, lengths), strict=True):
            if key in self._states:
                self._states.move_to_end(key)
                return length, self._states[key][1]
        return 0, None


def _bytes(state: PromptState) -> int:
    return OVERHEAD + sum(array.nbytes for arrays in state for array in arrays)


def _keys(ids: npt.NDArray[np.int64], lengths: list[int]) -> list[bytes]:
    """Return digests of beginnings: a block is digested with the digest of those before it, so each only once."""
    whole = [b""]
    for first in range(0, max(lengths, default=0) - BLOCK + 1, BLOCK):
        whole.append(_digest(ids[first : first + BLOCK], whole[-1]))
    return [_digest(ids[length - length % BLOCK : length], whole[length // BLOCK]) for length in lengths]


def _digest(ids: npt.NDArray[np.int64], before: bytes) -> bytes:
    return blake2b(ids.tobytes(), digest_size=DIGEST_SIZE, key=before).digest()
