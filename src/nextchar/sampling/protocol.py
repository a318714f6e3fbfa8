"""The generation protocol: what a backend does, on whichever hardware it computes the network.

A prompt is read once (`prefill`) and may then begin any number of streams of any batch of that backend.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from nextchar.kernels.packing import StreamState
from nextchar.kernels.sampler import Floats, Ids
from nextchar.sampling.options import SamplingParams

Nats = npt.NDArray[np.float64]

PromptState = tuple[StreamState, ...]
"""The state of one stream, with the logits of its next id, of each network of the model."""


class Batch(Protocol):
    """Streams that generate side by side, the first `count` of them in use.

    What a stream draws does not depend on the others.

    Attributes:
        size: The most streams.
        count: The number of streams in use.
    """

    size: int
    count: int

    def add(self, prompt: PromptState, params: SamplingParams, key: int, stop_ids: Sequence[int] = ()) -> None:
        """Begin a stream in the next free place.

        Args:
            prompt: What it continues.
            params: How it draws.
            key: Of its random numbers: its k-th id is drawn with number k of this key, 64 bits.
            stop_ids: `generate` returns early after a step in which it draws one of these.
        """

    def remove(self, stream: int) -> None:
        """End a stream; the last one in use moves to its place."""

    def generate(self, length: int, logits: Floats | None = None) -> tuple[Ids, Nats]:
        """Let every stream in use draw up to `length` ids; return ids and their nats, each `(T, N)`.

        Args:
            length: At least 1.
            logits: Where to put the logits of the network before each id, `(length, N, V)`; None if they are not needed.
        """


class Backend(Protocol):
    """A packed model on some hardware."""

    def prefill(self, prompt: npt.ArrayLike) -> PromptState:
        """Return the state after START and the ids of a prompt `(T,)`."""

    def batches(self, count: int) -> list[Batch]:
        """Return empty batches for `count` texts, to be run at the same time in one thread each."""


def batch_sizes(count: int, threads: int, largest: int) -> list[int]:
    """Return the size of each thread's batch for `count` texts, none above `largest`, of similar rounds.

    Example:
        >>> batch_sizes(70, 2, 32)
        [18, 18]
    """
    threads = max(1, min(count, threads))
    rounds = -(-count // (threads * largest))
    return [-(-count // max(1, threads * rounds))] * threads
