"""Novelty: what of a text was copied from the training text, which of its words are known, what of it is in loops."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError

Hashes = npt.NDArray[np.uint64]

WINDOW = 20  # characters: longer than most words, shorter than most lines
BLOCK = 1 << 18  # characters of the training text hashed at a time
FILTER_BITS = 22
WORD = re.compile(r"[^\W\d]\w*")
PERIOD = 100  # a loop repeats so many characters at the most,
REPEATS = 3  # at least so often in all,
LOOP = 30  # and is at least so long

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # an odd number whose bits look random
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Copies:
    """What of some texts can be found in a training text.

    Attributes:
        windows: Of each text, how many of its windows of 20 characters were copied, and how many there are.
        longest: Characters of the longest substring of any of the texts that stands in the training text.
        text: That substring.
    """

    windows: tuple[tuple[int, int], ...]
    longest: int
    text: str


class Training:
    """A training text, ready to be asked what was copied from it.

    Windows are compared by 64-bit hashes; that two different ones of some million share a hash is less likely than
    one in a hundred thousand.
    """

    def __init__(self, text: str) -> None:
        if not text:
            raise TextError("the training text is empty; novelty is measured against what was learnt")
        self.text = text
        self.words = frozenset(WORD.findall(text))
        self._codes = codes_of(text)

    def copies(self, texts: Sequence[str]) -> Copies:
        """Return what of the texts stands in the training text."""
        hashed = [hashes(codes_of(text), WINDOW) for text in texts]
        found, _ = self._found(_distinct(hashed), WINDOW, list(self._blocks()))
        windows = tuple((int(np.isin(each, found).sum()), len(each)) for each in hashed)
        longest, text = self._longest(texts)
        return Copies(windows, longest, text)

    def known_words(self, text: str) -> tuple[int, int]:
        """Return how many words of a text stand in the training text, and how many words it has."""
        words = WORD.findall(text)
        return sum(word in self.words for word in words), len(words)

    def _longest(self, texts: Sequence[str]) -> tuple[int, str]:
        """Find the longest copied substring: double the length while something is found, then halve the interval.

        A part of a copy is a copy, so only blocks with a copy of some length can hold one of a greater length.
        """
        codes = [codes_of(text) for text in texts]
        blocks = list(self._blocks())
        low, high, text = 0, max((len(each) for each in codes), default=0) + 1, ""
        length = 16
        while low + 1 < high:
            length = min(length, high - 1)
            hashed = [hashes(each, length) for each in codes]
            found, there = self._found(_distinct(hashed), length, blocks)
            if len(found):
                low, blocks = length, there
                text = _first(texts, hashed, found, length)
                length = 2 * low if high > 2 * low + 1 and low >= 16 else (low + high) // 2
            else:
                high = length
                length = (low + high) // 2
        return low, text

    def _blocks(self) -> Iterator[int]:
        return iter(range(0, len(self._codes), BLOCK))

    def _found(self, wanted: Hashes, length: int, blocks: Sequence[int]) -> tuple[Hashes, list[int]]:
        """Return which of the sorted hashes are those of a window of some blocks, and in which blocks any is."""
        seen = np.zeros(len(wanted), bool)
        if not len(wanted):
            return wanted, []
        top = np.uint64(64 - FILTER_BITS)
        likely = np.zeros(1 << FILTER_BITS, bool)
        likely[wanted >> top] = True
        there = []
        for begin in blocks:
            block = hashes(self._codes[begin : begin + BLOCK + length - 1], length)
            block = block[likely[block >> top]]
            where = np.minimum(np.searchsorted(wanted, block), len(wanted) - 1)
            where = where[wanted[where] == block]
            seen[where] = True
            if len(where):
                there.append(begin)
        return wanted[seen], there


def codes_of(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def hashes(codes: npt.NDArray[np.uint32], length: int) -> Hashes:
    """Return a hash of every window of `length` codes, `(T - length + 1,)`; none where the text is shorter.

    The hash of a window is made of those of two shorter ones that cover it, so it takes log2(length) rounds.
    """
    if len(codes) < length:
        return np.zeros(0, np.uint64)
    hashed, size = _mix(codes.astype(np.uint64) + np.uint64(1)), 1
    while size < length:
        step = min(size, length - size)
        hashed = _mix(hashed[:-step] * np.uint64(3) + hashed[step:])
        size += step
    return hashed


def _mix(values: Hashes) -> Hashes:
    values = values * _SPREAD
    values ^= values >> _HALF
    values *= _SPREAD
    return values ^ (values >> _HALF)


def _distinct(hashed: Sequence[Hashes]) -> Hashes:
    return np.unique(np.concatenate([np.zeros(0, np.uint64), *hashed]))


def _first(texts: Sequence[str], hashed: Sequence[Hashes], found: Hashes, length: int) -> str:
    """Return the first window whose hash was found."""
    for text, each in zip(texts, hashed, strict=True):
        places = np.flatnonzero(np.isin(each, found))
        if len(places):
            return text[places[0] : places[0] + length]
    return ""


def looping(text: str) -> int:
    """Return how many characters of a text stand in loops.

    A loop is a stretch of at least 30 characters that says the same, at most 100 characters long and with a letter
    in it, three times or more.

    Example:
        >>> looping("He said: " + "the king " * 10)
        91
    """
    codes = codes_of(text)
    letters = np.array([character.isalpha() for character in text], bool)
    inside = np.zeros(len(codes), bool)
    for period in range(1, min(PERIOD, len(codes) // REPEATS) + 1):
        same = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        for begin, end in zip(edges[::2], edges[1::2] + period, strict=True):
            if end - begin >= max(LOOP, REPEATS * period) and letters[begin : begin + period].any():
                inside[begin:end] = True
    return int(inside.sum())
