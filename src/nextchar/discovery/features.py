"""Features: what can be said of every character of a text, as labels that units are held against.

The alignment is that of states: label t speaks of the text up to and with character t. A span is entered with the last
character of what opens it, and left with the last character of what closes it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["binary", "ordinal", "cyclic"]
Bools = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.float32]

LEAST_POSITIVES, LEAST_RUNS = 200, 20
LIMIT = 2000  # characters after which a span that was not closed is given up


@dataclass(frozen=True, slots=True)
class Feature:
    """One label for each of T characters.

    Attributes:
        name: Such as `brackets` or `brackets.depth`.
        kind: binary (0 or 1), ordinal (a number), cyclic (an angle in turns, 0 to 1).
        values: The labels, `(T,)`.
        known: Where they can be said; False inside a span that never closes, `(T,)`.
        counts: Whether the label goes up by itself with every character, so that its value is its age.
        opener: The text that enters it, for pairs of texts with and without; "" if there is no single one.
        closer: The text that leaves it.
    """

    name: str
    kind: Kind
    values: Labels
    known: Bools
    counts: bool = False
    opener: str = ""
    closer: str = ""

    def __len__(self) -> int:
        """Return T."""
        return len(self.values)

    @property
    def positive(self) -> Bools:
        """Where there is something to say: the label is known and not 0, `(T,)`."""
        return self.known if self.kind == "cyclic" else self.known & (self.values != 0)

    @property
    def changes(self) -> Bools:
        """Where the label is another than at the character before, `(T,)`."""
        return np.concatenate([[True], self.values[1:] != self.values[:-1]])

    def age(self) -> npt.NDArray[np.int64]:
        """Return for how many characters the label has held; for one that counts, how far it has counted, `(T,)`."""
        return self.values.astype(np.int64) if self.counts else since(self.changes)

    def runs(self) -> int:
        """Count the stretches in which there is something to say."""
        positive = self.positive
        return int(positive[0]) + int((positive[1:] & ~positive[:-1]).sum()) if len(positive) else 0

    def mean_run(self) -> float:
        """Return the mean length of such a stretch in characters."""
        return float(self.positive.sum()) / max(1, self.runs())

    def digest(self) -> str:
        """Return what tells these labels from others."""
        return sha256(self.values.tobytes() + self.known.tobytes()).hexdigest()[:16]


def since(events: Bools) -> npt.NDArray[np.int64]:
    """Return how many characters ago the last event was, 0 at one; before the first, as if there was one before the text."""
    places = np.where(events, np.arange(len(events)), -1)
    return np.arange(len(events)) - np.maximum.accumulate(places)


def binary(name: str, values: npt.NDArray[Any], known: Bools | None = None, **more: Any) -> Feature:
    """Make a feature that is or is not."""
    known = np.ones(len(values), np.bool_) if known is None else known
    return Feature(name, "binary", (values != 0).astype(np.float32), known, **more)


def ordinal(name: str, values: npt.NDArray[Any], known: Bools | None = None, **more: Any) -> Feature:
    """Make a feature that is more or less."""
    known = np.ones(len(values), np.bool_) if known is None else known
    return Feature(name, "ordinal", values.astype(np.float32), known, **more)


def cyclic(name: str, values: npt.NDArray[Any], period: int) -> Feature:
    """Make a feature that comes round after so many."""
    turns = (values % period / period).astype(np.float32)
    return Feature(name, "cyclic", turns, np.ones(len(values), np.bool_))


@dataclass(frozen=True, slots=True)
class Span:
    """A kind of stretch between two marks.

    Attributes:
        name: Of the feature.
        opens: Regular expression of what enters it.
        closes: Of what leaves it; the same as `opens` where the two look alike.
        nests: Whether one can stand in another of its kind.
        resets: Where all that is open is given up; a blank line by default.
        opener: What is written to enter it.
        closer: What is written to leave it.
        limit: Characters after which it is given up.
    """

    name: str
    opens: str
    closes: str
    nests: bool = False
    resets: str = r"\n[ \t\r]*\n"
    opener: str = ""
    closer: str = ""
    limit: int = LIMIT


@dataclass(frozen=True, slots=True)
class Stretches:
    """Where spans of one kind are: `[begin, end)` of each, and of those that were given up."""

    closed: list[tuple[int, int]]
    given_up: list[tuple[int, int]]


def scan(text: str, span: Span) -> Stretches:
    """Find the spans of a kind with a push-down scanner that recovers: what does not close is given up, not believed."""
    same = span.opens == span.closes
    parts = [("open", span.opens), ("close", "" if same else span.closes), ("reset", span.resets)]
    pattern = re.compile("|".join(f"(?P<{name}>{part})" for name, part in parts if part), re.MULTILINE)
    found = Stretches([], [])
    stack: list[int] = []
    for match in pattern.finditer(text):
        place = match.end() - 1
        while stack and place - stack[-1] > span.limit:
            found.given_up.append((stack.pop(), place))
        if match.lastgroup == "reset":
            found.given_up.extend((begin, place) for begin in stack)
            stack.clear()
        elif stack and (match.lastgroup == "close" or same):
            found.closed.append((stack.pop(), place))
        elif match.lastgroup == "open" and (span.nests or not stack):
            stack.append(place)
    found.given_up.extend((begin, len(text)) for begin in stack)
    return found


def depth_of(length: int, stretches: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Return in how many stretches each character is, `(T,)`."""
    steps = np.zeros(length + 1, np.int64)
    for begin, end in stretches:
        steps[begin] += 1
        steps[end] -= 1
    return np.cumsum(steps[:-1])


def span_features(text: str, span: Span) -> Iterator[Feature]:
    """Yield what can be said of one kind of span: inside, depth, since when, and whether the next character leaves it."""
    stretches = scan(text, span)
    yield from stretch_features(
        span.name, len(text), stretches, nests=span.nests, opener=span.opener, closer=span.closer
    )


def stretch_features(
    name: str, length: int, stretches: Stretches, *, nests: bool = False, opener: str = "", closer: str = ""
) -> Iterator[Feature]:
    """Yield the features of stretches that were found."""
    depth = depth_of(length, stretches.closed)
    known = depth_of(length, stretches.given_up) == 0
    inside = depth > 0
    yield binary(name, inside, known, opener=opener, closer=closer)
    if nests and (depth > 1).sum() >= LEAST_POSITIVES:
        yield ordinal(f"{name}.depth", depth, known)
    if inside.any():
        entered = inside & ~np.concatenate([[False], inside[:-1]])
        yield ordinal(f"{name}.since", np.where(inside, since(entered) + 1, 0), known, counts=True)
        yield binary(f"{name}.next_close", np.concatenate([depth[1:] < depth[:-1], [False]]), known)


def regions(text: str, pattern: str, flags: re.RegexFlag = re.MULTILINE) -> Stretches:
    """Find regions by one expression; a group named `open` is what enters, else the first character is."""
    compiled = re.compile(pattern, flags)
    named = "open" in compiled.groupindex
    found = ((m.end("open") if named else m.start() + 1, m.end()) for m in compiled.finditer(text))
    return Stretches([(first - 1, last - 1) for first, last in found if last > first], [])


def matches(text: str, pattern: str) -> Bools:
    """Return which characters stand in a match of an expression, `(T,)`."""
    found = [match.span() for match in re.finditer(pattern, text, re.MULTILINE)]
    return depth_of(len(text), found) > 0


def keep(
    features: Sequence[Feature],
    positives: int = LEAST_POSITIVES,
    runs: int = LEAST_RUNS,
    halves: Sequence[npt.NDArray[np.int64]] = (),
) -> tuple[list[Feature], dict[str, str]]:
    """Return the features that come often enough to be judged, in each half of the places too, and why the others do not."""
    kept, dropped = [], {}
    for feature in features:
        there, known = int(feature.positive.sum()), int(feature.known.sum())
        if feature.kind == "cyclic":
            kept.append(feature)
        elif there < positives or feature.runs() < runs:
            dropped[feature.name] = f"{there:,} characters in {feature.runs():,} stretches"
        elif feature.kind == "binary" and known - there < positives:
            dropped[feature.name] = f"all but {known - there:,} characters"
        elif any(feature.positive[half].sum() < positives / 4 for half in halves):
            dropped[feature.name] = f"{there:,} characters, nearly all of them in one half of the text"
        else:
            kept.append(feature)
    return kept, dropped
