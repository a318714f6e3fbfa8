"""Features: one label per character of a text, which the values of units are compared with.

Labels are aligned with states: label t describes the text up to and including character t. A span begins at the last
character of its opening mark and ends before the last character of its closing mark.
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

MIN_POSITIVES, MIN_RUNS = 200, 20
MAX_SPAN = 2000  # characters after which a span that was not closed is given up


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """How often a feature occurs.

    Attributes:
        characters: Characters at which it is on.
        runs: Runs of such characters.
        mean_run: Mean length of a run, in characters.
        unknown: Characters at which its label is unknown.
        digest: Hash of the labels.
    """

    characters: int
    runs: int
    mean_run: float
    unknown: int
    digest: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One label for each of T characters.

    Attributes:
        name: Such as `brackets` or `brackets.depth`.
        kind: binary (0 or 1), ordinal (a number), cyclic (a phase, 0 to 1).
        values: The labels, `(T,)`.
        known: Where the label is known; False inside a span that is never closed, `(T,)`.
        counts: Whether the label increases by 1 with every character, so that its value is its age.
        opener: The text that begins it, for pairs of texts with and without; "" if there is no single one.
        closer: The text that ends it.
    """

    name: str
    kind: Kind
    values: Labels
    known: Bools
    counts: bool = False
    opener: str = ""
    closer: str = ""

    @property
    def positive(self) -> Bools:
        """Where the label is known and not 0 (of a cyclic feature: where it is known), `(T,)`."""
        return self.known if self.kind == "cyclic" else self.known & (self.values != 0)

    def age(self) -> npt.NDArray[np.int64]:
        """Return for how many characters the label has been the same; for one that counts, its value, `(T,)`."""
        changes = np.concatenate([[True], self.values[1:] != self.values[:-1]])
        return self.values.astype(np.int64) if self.counts else since(changes)

    def runs(self) -> int:
        """Return the number of runs of positive characters."""
        positive = self.positive
        return int(positive[0]) + int((positive[1:] & ~positive[:-1]).sum()) if len(positive) else 0

    def mean_run(self) -> float:
        """Return the mean length of such a run in characters."""
        return float(self.positive.sum()) / max(1, self.runs())

    def summary(self) -> FeatureSummary:
        """Return how often the feature occurs."""
        digest = sha256(self.values.tobytes() + self.known.tobytes()).hexdigest()[:16]
        characters, unknown = int(self.positive.sum()), int((~self.known).sum())
        return FeatureSummary(characters, self.runs(), self.mean_run(), unknown, digest)


def since(events: Bools) -> npt.NDArray[np.int64]:
    """Return the distance in characters to the last event, 0 at one; the text is preceded by an event, `(T,)`."""
    places = np.where(events, np.arange(len(events)), -1)
    return np.arange(len(events)) - np.maximum.accumulate(places)


def binary(name: str, values: npt.NDArray[Any], known: Bools | None = None, **more: Any) -> Feature:
    """Make a feature that is on (not 0) or off."""
    known = np.ones(len(values), np.bool_) if known is None else known
    return Feature(name, "binary", (values != 0).astype(np.float32), known, **more)


def ordinal(name: str, values: npt.NDArray[Any], known: Bools | None = None, **more: Any) -> Feature:
    """Make a feature that is a number."""
    known = np.ones(len(values), np.bool_) if known is None else known
    return Feature(name, "ordinal", values.astype(np.float32), known, **more)


def cyclic(name: str, values: npt.NDArray[Any], period: int) -> Feature:
    """Make a feature that is a phase: `values` modulo `period`."""
    turns = (values % period / period).astype(np.float32)
    return Feature(name, "cyclic", turns, np.ones(len(values), np.bool_))


@dataclass(frozen=True, slots=True)
class SpanRule:
    """How spans of one kind are recognised: by two marks.

    Attributes:
        name: Of the feature.
        opens: Regular expression of the opening mark.
        closes: Of the closing mark; equal to `opens` where both marks are the same.
        nests: Whether spans of this kind contain each other.
        resets: Where all open spans are given up; a blank line by default.
        opener: Text of the opening mark.
        closer: Text of the closing mark.
        limit: Characters after which an open span is given up.
    """

    name: str
    opens: str
    closes: str
    nests: bool = False
    resets: str = r"\n[ \t\r]*\n"
    opener: str = ""
    closer: str = ""
    limit: int = MAX_SPAN


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of one kind as `[begin, end)`: those that are closed, and those that are not."""

    closed: list[tuple[int, int]]
    given_up: list[tuple[int, int]]


def scan(text: str, rule: SpanRule) -> Spans:
    """Find the spans of a kind with a stack; a span that is not closed in time is reported as given up."""
    same = rule.opens == rule.closes
    parts = [("open", rule.opens), ("close", "" if same else rule.closes), ("reset", rule.resets)]
    pattern = re.compile("|".join(f"(?P<{name}>{part})" for name, part in parts if part), re.MULTILINE)
    found = Spans([], [])
    stack: list[int] = []
    for match in pattern.finditer(text):
        place = match.end() - 1
        while stack and place - stack[-1] > rule.limit:
            found.given_up.append((stack.pop(), place))
        if match.lastgroup == "reset":
            found.given_up.extend((begin, place) for begin in stack)
            stack.clear()
        elif stack and (match.lastgroup == "close" or same):
            found.closed.append((stack.pop(), place))
        elif match.lastgroup == "open" and (rule.nests or not stack):
            stack.append(place)
    found.given_up.extend((begin, len(text)) for begin in stack)
    return found


def depth_of(length: int, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Return how many of the spans contain each character, `(T,)`."""
    steps = np.zeros(length + 1, np.int64)
    for begin, end in spans:
        steps[begin] += 1
        steps[end] -= 1
    return np.cumsum(steps[:-1])


def span_features(text: str, rule: SpanRule) -> Iterator[Feature]:
    """Yield the features of one kind of span: inside, depth, characters since it began, whether the next one ends it."""
    spans = scan(text, rule)
    yield from features_of(rule.name, len(text), spans, nests=rule.nests, opener=rule.opener, closer=rule.closer)


def features_of(
    name: str, length: int, spans: Spans, *, nests: bool = False, opener: str = "", closer: str = ""
) -> Iterator[Feature]:
    """Yield the features of spans that were found."""
    depth = depth_of(length, spans.closed)
    known = depth_of(length, spans.given_up) == 0
    inside = depth > 0
    yield binary(name, inside, known, opener=opener, closer=closer)
    if nests and (depth > 1).sum() >= MIN_POSITIVES:
        yield ordinal(f"{name}.depth", depth, known)
    if inside.any():
        entered = inside & ~np.concatenate([[False], inside[:-1]])
        yield ordinal(f"{name}.since", np.where(inside, since(entered) + 1, 0), known, counts=True)
        yield binary(f"{name}.next_close", np.concatenate([depth[1:] < depth[:-1], [False]]), known)


def matches(text: str, pattern: str) -> Bools:
    """Return which characters are in a match of an expression, `(T,)`."""
    found = [match.span() for match in re.finditer(pattern, text, re.MULTILINE)]
    return depth_of(len(text), found) > 0


def keep(
    features: Sequence[Feature],
    positives: int = MIN_POSITIVES,
    runs: int = MIN_RUNS,
    halves: Sequence[npt.NDArray[np.int64]] = (),
) -> tuple[list[Feature], dict[str, str]]:
    """Return the features that are frequent enough to be judged, in each of `halves` too, and why the others are not."""
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
