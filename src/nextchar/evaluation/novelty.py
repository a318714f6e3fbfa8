"""Novelty: how much of a text is copied from the training text, how many of its words are known, how much is in loops."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.vocabulary import code_points

Hashes = npt.NDArray[np.uint64]

WINDOW = 20  # characters: longer than most words, shorter than most lines
BLOCK = 1 << 18  # characters of the training text hashed at a time
FILTER_BITS = 22
WORD = re.compile(r"[^\W\d]\w*")
PERIOD = 100  # a loop repeats at most so many characters,
REPEATS = 3  # occurs at least so many times in a row,
LOOP = 30  # and has at least so many characters in all

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # an odd number whose bits look random
_HALF = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Copies:
    """How much of some texts occurs in a training text.

    Attributes:
        windows: For each text, how many of its windows of 20 characters are copied, and how many it has.
        longest: Characters of the longest substring of any of the texts that occurs in the training text.
        text: That substring.
    """

    windows: tuple[tuple[int, int], ...]
    longest: int
    text: str


class Training:
    """A training text that other texts are compared with.

    Windows are compared by 64-bit hashes. The probability that two different ones of a few million have the same hash is
    below 1 in 100,000.
    """

    def __init__(self, text: str) -> None:
        if not text:
            raise TextError("the training text is empty; novelty is measured against it")
        self.text = text
        self.words = frozenset(WORD.findall(text))
        self._codes = code_points(text)
        self._blocks = range(0, len(self._codes), BLOCK)

    def copies(self, texts: Sequence[str]) -> Copies:
        """Return how much of the texts occurs in the training text."""
        hashed = [hashes(code_points(text), WINDOW) for text in texts]
        found, _ = self._found(_distinct(hashed), WINDOW, self._blocks)
        windows = tuple((int(np.isin(each, found).sum()), len(each)) for each in hashed)
        longest, text = self._longest(texts)
        return Copies(windows, longest, text)

    def known_words(self, text: str) -> tuple[int, int]:
        """Return how many words of a text occur in the training text, and how many words it has."""
        words = WORD.findall(text)
        return sum(word in self.words for word in words), len(words)

    def _longest(self, texts: Sequence[str]) -> tuple[int, str]:
        """Find the longest copied substring: double the length while a copy is found, then bisect.

        Every substring of a copy is a copy, so longer copies are searched only in blocks that have shorter ones.
        """
        codes = [code_points(text) for text in texts]
        blocks: Sequence[int] = self._blocks
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

    def _found(self, wanted: Hashes, length: int, blocks: Sequence[int]) -> tuple[Hashes, list[int]]:
        """Return which of the sorted hashes occur in some blocks of the training text, and the blocks with any of them."""
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


def hashes(codes: npt.NDArray[np.uint32], length: int) -> Hashes:
    """Return a hash of every window of `length` codes, `(T - length + 1,)`; none if the text is shorter.

    The hash of a window is computed from those of two shorter ones that cover it, in log2(length) rounds.
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
    """Return how many characters of a text are in loops.

    A loop has at least 30 characters and repeats a string of at most 100 characters, at least one of them a letter,
    three times or more in a row.

    Example:
        >>> looping("He said: " + "the king " * 10)
        91
    """
    codes = code_points(text)
    letters = np.array([character.isalpha() for character in text], bool)
    inside = np.zeros(len(codes), bool)
    for period in range(1, min(PERIOD, len(codes) // REPEATS) + 1):
        same = np.concatenate([[False], codes[period:] == codes[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        begins, ends = edges[::2], edges[1::2] + period
        long = ends - begins >= max(LOOP, REPEATS * period)
        for begin, end in zip(begins[long], ends[long], strict=True):
            if letters[begin : begin + period].any():
                inside[begin:end] = True
    return int(inside.sum())
