"""What a model still gets wrong, and what would have got it right: the error analysis of arXiv 1506.02078, section 4.4.

A character is an error where the model gave it half of the probability or less. Each error counts for the first kind in
the list that fits: what a table of n-grams knew, what a memory of the recent text would have known, rare words, the
beginnings of words, punctuation and white space, the rest.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError

Costs = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]

HALF = np.log(2.0)
MEMORY = 1000  # characters that the memory holds
RARE = 5  # a word seen so often in training, or less, is rare
SPANS = (10, 20, 40, 60, 80, 100, 150, 200, 400, 1000)
PAIRS = {"{": "}", "(": ")", "[": "]"}
WORD = re.compile(r"\w+")
KINDS = (
    "n-gram",
    "memory of 1000 characters",
    "rare word",
    "beginning of a word",
    "punctuation and white space",
    "the rest",
)


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error.

    Attributes:
        name: See `KINDS`.
        errors: How many.
        share: Of all errors.
        nats: What the characters in error cost together.
    """

    name: str
    errors: int
    share: float
    nats: float


@dataclass(frozen=True, slots=True)
class Closing:
    """How sure closing brackets are, by the distance to the bracket they close.

    Attributes:
        bracket: The closing one.
        least: Characters from one to the other, at least.
        most: At the most.
        count: How many there are.
        probability: Mean of what each predictor gave them, by its name.
    """

    bracket: str
    least: int
    most: int
    count: int
    probability: dict[str, float]


def kinds_of_error(text: str, nats: Costs, ngram: Costs, training: str) -> list[ErrorKind]:
    """Sort the errors of a model by what would have mended them.

    Args:
        text: What was scored, T characters.
        nats: What each cost the model, `(T,)`.
        ngram: What each cost the best table of n-grams, `(T,)`.
        training: What the model has learnt from, for which words are rare.

    Raises:
        TextError: The costs are not those of the text.
    """
    if not len(text) == len(nats) == len(ngram):
        raise TextError(f"{len(text)} characters have {len(nats)} and {len(ngram)} costs")
    counts, words = Counter(WORD.findall(training)), list(WORD.finditer(text))
    left = nats >= HALF
    found = []
    total = int(left.sum())
    for name, fits in zip(
        KINDS,
        (
            ngram < HALF,
            remembered(text, left & (ngram >= HALF)),
            _marks(text, (word.span() for word in words if counts[word[0]] <= RARE)),
            _marks(text, ((word.start(), word.start() + 1) for word in words)),
            ~_marks(text, (word.span() for word in words)),
            np.ones(len(text), bool),
        ),
        strict=True,
    ):
        here = left & fits
        count = int(here.sum())
        found.append(ErrorKind(name, count, count / max(total, 1), float(nats[here].sum())))
        left &= ~fits
    return found


def remembered(text: str, wanted: Marks) -> Marks:
    """Tell which of the wanted characters a memory would have known, `(T,)`.

    It knows a character where what was written since the last white space, at least two characters with that one,
    stands in the last 1,000 characters before it.
    """
    known = np.zeros(len(text), bool)
    for end in np.flatnonzero(wanted).tolist():
        begin = end
        while begin and end - begin < MEMORY and not text[begin - 1].isspace():
            begin -= 1
        if end - begin >= 1 and text.find(text[begin : end + 1], max(0, begin - MEMORY), begin) >= 0:
            known[end] = True
    return known


def _marks(text: str, stretches: Iterable[tuple[int, int]]) -> Marks:
    """Return which characters stand in one of some stretches, `(T,)`."""
    marks = np.zeros(len(text), bool)
    for begin, end in stretches:
        marks[begin:end] = True
    return marks


def closing_brackets(text: str, costs: Mapping[str, Costs]) -> list[Closing]:
    """Return how sure each predictor is of closing brackets, by the distance to the opening one.

    Args:
        text: What was scored, T characters.
        costs: What each character cost, `(T,)`, by the name of the predictor.

    Returns:
        Rows by bracket and distance, of what there is at least one.
    """
    rows = []
    for opening, bracket in PAIRS.items():
        ends, distances = _pairs(text, opening, bracket)
        for least, most in zip((1, *(span + 1 for span in SPANS)), (*SPANS, 1 << 30), strict=True):
            there = ends[(distances >= least) & (distances <= most)]
            if len(there):
                sure = {name: float(np.exp(-nats[there]).mean()) for name, nats in costs.items()}
                rows.append(Closing(bracket, least, most, len(there), sure))
    return rows


def _pairs(text: str, opening: str, closing: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where brackets of one kind are closed, and how far before they were opened."""
    waiting: list[int] = []
    ends, distances = [], []
    for place, character in enumerate(text):
        if character == opening:
            waiting.append(place)
        elif character == closing and waiting:
            ends.append(place)
            distances.append(place - waiting.pop())
    return np.array(ends, np.intp), np.array(distances, np.intp)


def table(kinds: Sequence[ErrorKind], chars: int) -> str:
    """Return the kinds of error as lines of text."""
    errors = sum(each.errors for each in kinds)
    nats = sum(each.nats for each in kinds)
    lines = [
        f"{errors:,} of {chars:,} characters had half of the probability or less, by what would have known them:"
    ]
    for each in kinds:
        cost = 100 * each.nats / max(nats, 1e-9)
        lines.append(
            f"{each.name:28}{each.errors:9,}  {100 * each.share:5.1f} % of errors  {cost:5.1f} % of their cost"
        )
    return "\n".join(lines)
