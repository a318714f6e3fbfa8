"""Names of neurons: a light search for what single neurons follow, such as being inside quotes.

The first half of a text chooses a neuron and a threshold for each feature, and the second half scores them. A neuron is
named only if it follows the feature clearly better than tables of the last characters and than random memories do, so that
a network without training gets no names.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError, check_types
from nextchar.features.feature import Feature, keep
from nextchar.features.phrases import phrase
from nextchar.features.profiles import PROFILES, guess
from nextchar.features.suffixes import Suffixes
from nextchar.inspection.trace import Floats
from nextchar.language_model import LanguageModel
from nextchar.storage import to_file

# Networks without training stay below one of them (docs/inspect.md).
MIN_STRENGTH, MIN_LEAD = {"binary": 0.55, "ordinal": 0.6}, 0.05
MEMORIES, LONGEST = 1024, 512.0  # random memories, and the characters that the slowest of them remembers
MIN_POSITIVES, MIN_RUNS = 200, 10  # of a feature that is searched for, in the whole text
TRIED = 8  # units of the largest correlation that are tried for each feature
SUFFIX = 4  # last characters of the longest table
LEVELS = 128  # thresholds that are tried
LEFT_OUT = (".since", ".next_close", "late_in_line")
FAMILIES = {
    **dict.fromkeys(("column", "line_start", "next_newline"), "line"),
    **dict.fromkeys(("indentation", "indented", "indenting"), "indentation"),
    **dict.fromkeys(("word_position", "word_first", "next_word_end"), "word"),
    **dict.fromkeys(("number", "digit", "digit_count", "lexer_number"), "number"),
}
"""Features that are so alike that only the best of them is named; those of one span are, too."""

Measure = Literal["balanced accuracy", "correlation"]
Unit = tuple[int, int]
Ints = npt.NDArray[np.int64]
Steps = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Named:
    """A neuron, and the feature of a text that it follows.

    Attributes:
        layer: Counted from 0.
        unit: Counted from 0.
        feature: Name of the feature, such as `braces`.
        score: On text that the search did not see: balanced accuracy, 0.5 (chance) to 1, or |r|, 0 to 1.
        measure: Which of them: the first for a feature that is on or off, the second for a number.
    """

    layer: int
    unit: int
    feature: str
    score: float
    measure: Measure

    @property
    def phrase(self) -> str:
        """What follows the neuron's name in a sentence, such as "knows it is inside { }"."""
        return phrase(self.feature)

    def __str__(self) -> str:
        """Return a sentence: "0:48 knows it is inside { } (balanced accuracy 0.97)"."""
        return f"{self.layer}:{self.unit} {self.phrase} ({self.measure} {self.score:.2f})"


def digest(lm: LanguageModel) -> str:
    """Return the hash of a model's weights."""
    result = sha256()
    for name, array in sorted(to_file(lm).arrays.items()):
        result.update(name.encode() + array.tobytes())
    return result.hexdigest()


def read_names(path: Path, lm: LanguageModel) -> list[Named]:
    """Read the neurons of a model that `nextchar discover` named: from claims.json, or from the folder that holds it.

    Raises:
        ConfigError: There is no such file, or it is about another model.
    """
    file = path / "claims.json" if path.is_dir() else path
    try:
        claims = json.loads(file.read_text(encoding="utf-8"))
        places = [[int(number) for number in each["unit"].split(":")] for each in claims["findings"]]
        of, shape = claims["model"]["sha256"], lm.network.architecture
        names = [
            Named(layer, unit, each["feature"], each["score"], each["measure"])
            for (layer, unit), each in zip(places, claims["findings"], strict=True)
        ]
        for each in names:
            check_types(asdict(each), {"feature": str, "score": Real, "measure": str}, "feature", "score")
            if not (0 <= each.layer < shape.layers and 0 <= each.unit < shape.hidden):
                raise IndexError(each)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ConfigError(f"{file} holds no findings; give the folder that nextchar discover wrote") from None
    if of != digest(lm):
        raise ConfigError(f"{file} is about another model; run nextchar discover with this one")
    return names


def name_neurons(text: str, ids: npt.NDArray[Any], parts: Sequence[Steps], units: Sequence[Unit]) -> list[Named]:
    """Name neurons that follow a feature of a text, those first that exceed tables and random memories most.

    Each neuron has one name, and each feature one neuron.

    Args:
        text: T characters.
        ids: The same as ids, `(T,)`.
        parts: Consecutive values of all A units as small integers, `(t, A)` each, T rows in all.
        units: Layer and unit of each column.
    """
    half = len(text) // 2
    halves = np.arange(half), np.arange(half, len(text))
    features = [each for part in PROFILES[guess(text)] for each in part(text)]
    features = [each for each in features if each.kind != "cyclic" and not each.name.endswith(LEFT_OUT)]
    features, _ = keep(features, MIN_POSITIVES, MIN_RUNS, halves)
    features = [each for each in features if all(_off(each, half) >= MIN_POSITIVES / 4 for half in halves)]
    if not features:
        return []
    suffixes, memories, found = Suffixes(ids, SUFFIX), random_memories(ids), []
    rows = _correlations(features, parts, half), _correlations(features, [memories], half)
    for feature, row, row_of_memories in zip(features, *rows, strict=True):
        candidates = [(strength, units[unit]) for strength, unit in _best(feature, parts, row, half)]
        of_memories = max(strength for strength, _ in _best(feature, [memories], row_of_memories, half))
        found.append((feature, max(_of_tables(feature, suffixes, half), of_memories), candidates))
    return _distinct(sorted(found, key=lambda each: each[1] - each[2][0][0]))


def random_memories(ids: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return what random memories of a text hold, `(T, 1024)`: what a network can do without training.

    Each is a sum of random values of the characters before, which it forgets at a rate of its own.
    """
    random = np.random.default_rng(0)
    inputs = random.standard_normal((int(ids.max()) + 1, MEMORIES)).astype(np.float32)
    keeping = (1 - 1 / np.geomspace(1, LONGEST, MEMORIES)).astype(np.float32)
    held, states = np.zeros(MEMORIES, np.float32), np.empty((len(ids), MEMORIES), np.float32)
    for place, character in enumerate(ids):
        held = keeping * held + inputs[character]
        states[place] = held
    return states


def _best(feature: Feature, parts: Sequence[npt.NDArray[Any]], row: Floats, half: int) -> list[tuple[float, int]]:
    """Return units, given all their correlations, with their held-out strength; the best on the first half come first."""
    tried = np.argsort(-np.abs(row), kind="stable")[:TRIED]
    scores = [_strengths(feature, np.concatenate([part[:, unit] for part in parts]), half) for unit in tried]
    order = sorted(range(len(tried)), key=lambda index: -scores[index][0])
    return [(scores[index][1], int(tried[index])) for index in order]


def _distinct(found: Sequence[tuple[Feature, float, list[tuple[float, Unit]]]]) -> list[Named]:
    """Name units for features, given with the strength of chance and their units, the best on the first half first.

    Of each family of features the first is named, by its first unit that has no name yet.
    """
    seen, named = set[Any](), []
    for feature, chance, candidates in found:
        family = FAMILIES.get(feature.name, feature.name.partition(".")[0])
        strength, unit = next((each for each in candidates if each[1] not in seen), (0.0, (0, 0)))
        if family in seen or strength < max(MIN_STRENGTH[feature.kind], chance + MIN_LEAD):
            continue
        seen |= {unit, family}
        on_or_off = feature.kind == "binary"
        measure: Measure = "balanced accuracy" if on_or_off else "correlation"
        named.append(Named(*unit, feature.name, (1 + strength) / 2 if on_or_off else strength, measure))
    return named


def _off(feature: Feature, places: Ints) -> int:
    """Return at how many of some places a feature is known and not on."""
    return int((feature.known & ~feature.positive)[places].sum()) if feature.kind == "binary" else len(places)


def _of_tables(feature: Feature, suffixes: Suffixes, half: int) -> float:
    """Return the held-out strength of the best table of the last 1 to 4 characters."""
    predictions = suffixes.predictions(feature, np.arange(half))
    return max(_strengths(feature, each, half)[1] for each in predictions)


def _correlations(features: Sequence[Feature], parts: Sequence[npt.NDArray[Any]], half: int) -> Floats:
    """Return about Pearson's r of features and units on the first half of a text, `(F, A)`; to choose units, not to score."""
    labels = np.zeros((len(features), half), np.float32)
    for index, feature in enumerate(features):
        known, values = feature.known[:half], feature.values[:half]
        labels[index, known] = values[known] - values[known].mean()
    labels /= np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1e-9)
    width, begin = parts[0].shape[1], 0
    products, sums, squares = np.zeros((len(features), width)), np.zeros(width), np.zeros(width)
    for part in parts:
        rows = part[: max(half - begin, 0)].astype(np.float32, copy=False)
        products += labels[:, begin : begin + len(rows)] @ rows
        sums += rows.sum(0)
        squares += np.einsum("tu,tu->u", rows, rows)
        begin += len(rows)
    return products / np.sqrt(np.maximum(squares - sums * sums / max(half, 1), 1e-9))


def _strengths(feature: Feature, values: npt.NDArray[Any], half: int) -> tuple[float, float]:
    """Return how strongly values `(T,)` follow a feature on the first half, and, with sign and threshold of that, on the second.

    0 is chance and 1 complete: 2 x balanced accuracy - 1 of a feature that is on or off, r of a number.
    """
    known = feature.known
    (fit, fit_labels), (held, held_labels) = (
        (values[part][known[part]].astype(np.float64), feature.values[part][known[part]])
        for part in (slice(half), slice(half, None))
    )
    if feature.kind == "ordinal":
        fitted = _pearson(fit, fit_labels)
        return abs(fitted), _pearson(held, held_labels) * float(np.sign(fitted))
    edges = np.unique(np.quantile(fit, np.linspace(0, 1, LEVELS + 1)))
    gaps = _above(fit, fit_labels, edges)
    best = int(np.abs(gaps).argmax())
    gap = float(_above(held, held_labels, edges[best : best + 1])[0])
    return float(abs(gaps[best])), gap * float(np.sign(gaps[best]))


def _above(values: Floats, labels: Floats, edges: Floats) -> Floats:
    """Return, for each threshold, the share of values above it where the feature is on, minus that where it is off."""
    shares = [
        1 - np.searchsorted(np.sort(values[labels == on]), edges, side="right") / (labels == on).sum() for on in (1, 0)
    ]
    return shares[0] - shares[1]


def _pearson(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 and other.std() > 0 else 0.0
