"""Names of neurons: planted units are found, and chance is not named."""

from itertools import pairwise

import numpy as np
import pytest

from conftest import make_model
from nextchar.inspection import naming
from nextchar.inspection.naming import MIN_LEAD, MIN_STRENGTH, Named, name_neurons, random_memories
from nextchar.inspection.report import read
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary


def _text(random: np.random.Generator, lines: int = 800) -> str:
    """Return lines of words, of which some are in brackets that close later."""
    words = ["some", "words", "of", "different", "length", "and", "no", "meaning"]
    parts = [" ".join(random.choice(words, random.integers(2, 9))) for _ in range(lines)]
    return "\n".join(f"[{part} {part}]" if random.random() < 0.3 else part for part in parts)


def _planted(text: str, random: np.random.Generator) -> np.ndarray:
    """Return values of 40 units `(T, 40)`: noise, but 7 is inside brackets, with some noise, and 12 the position in the line."""
    values = random.normal(size=(len(text), 40)) * 20
    inside = np.cumsum([(c == "[") - (c == "]") for c in text])
    column = np.array([t - text.rfind("\n", 0, t + 1) for t in range(len(text))])
    values[:, 7] = -40 * inside + random.normal(size=len(text)) * 10
    values[:, 12] = np.minimum(column, 120) / 2 - 30
    return values.clip(-63, 63).astype(np.int8)


def _ids(text: str) -> np.ndarray:
    return Vocabulary("characters", tuple(sorted(set(map(ord, text))))).encode(text)


UNITS = [(number // 20, number % 20) for number in range(40)]


def test_planted_units_are_named(random: np.random.Generator) -> None:
    """The unit that is inside brackets, with the other sign, and the one that counts, each with the score of the second half."""
    text = _text(random)
    values = _planted(text, random)
    parts = [values[begin:end] for begin, end in pairwise([*range(0, len(text), 2048), len(text)])]
    found = {name.feature: name for name in name_neurons(text, _ids(text), parts, UNITS)}
    assert set(found) == {"brackets", "column"}
    brackets, column = found["brackets"], found["column"]
    assert (brackets.layer, brackets.unit, brackets.measure) == (0, 7, "balanced accuracy")
    half = len(text) // 2
    inside = np.cumsum([(c == "[") - (c == "]") for c in text])[half:] > 0
    thresholds = np.unique(values[:, 7])
    right = [((values[half:, 7] <= t)[inside].mean() + (values[half:, 7] > t)[~inside].mean()) / 2 for t in thresholds]
    assert brackets.score == pytest.approx(max(right), abs=0.01)
    assert (column.layer, column.unit, column.measure) == (0, 12, "correlation")
    expected = np.corrcoef([t - text.rfind("\n", 0, t + 1) for t in range(half, len(text))], values[half:, 12])[0, 1]
    assert column.score == pytest.approx(expected, abs=1e-6)
    assert str(brackets) == f"0:7 knows it is inside [ ] (balanced accuracy {brackets.score:.2f})"


def test_what_holds_on_one_half_only_is_not_named(random: np.random.Generator) -> None:
    """A unit that follows the brackets where they are searched, and not where they are scored, gets no name."""
    text = _text(random)
    values = _planted(text, random)
    values[len(text) // 2 :, 7] = values[: len(text) - len(text) // 2, 0]
    assert "brackets" not in {name.feature for name in name_neurons(text, _ids(text), [values], UNITS)}


def test_the_last_characters_alone_are_no_name(random: np.random.Generator) -> None:
    """A unit that knows the present character perfectly is not named: a table of characters knows it, too."""
    text = _text(random)
    values = random.normal(size=(len(text), 40)) * 20
    values[:, 3] = [60 * (c == " ") for c in text]
    assert name_neurons(text, _ids(text), [values.astype(np.int8)], UNITS) == []


def test_what_random_memories_know_is_no_name(random: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that knows a feature perfectly is not named where a random memory knows it as well."""
    text = _text(random)
    values = _planted(text, random)
    assert "brackets" in {name.feature for name in name_neurons(text, _ids(text), [values], UNITS)}
    monkeypatch.setattr(naming, "random_memories", lambda _: values)
    assert name_neurons(text, _ids(text), [values], UNITS) == []


def test_random_memories_forget_at_rates_of_their_own() -> None:
    """The first holds the last character alone; the last one is still changed by a character 300 places later."""
    same, other = (random_memories(np.array([0] * 300 + [middle] + [1] + [0] * 300)) for middle in (0, 1))
    differs = np.abs(same - other)
    assert differs[300, 0] > 0
    assert differs[301:, 0].max() == 0
    assert differs[600, -1] > 0.1 * differs[300, -1] > 0


def test_short_texts_have_no_names() -> None:
    """Nothing is frequent enough to be judged in a line."""
    assert name_neurons("a [b] c", _ids("a [b] c"), [np.zeros((7, 40), np.int8)], UNITS) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_without_training_has_no_names(text: str, seed: int) -> None:
    """Of the units of random weights none is called anything."""
    lm = make_model(Corpus.from_text(text).vocabulary, hidden=128, seed=seed)
    found = read(lm, lm.vocabulary.encode(text[:20_000]))
    assert found.names == {}
    assert found.sentence((1, 5)).startswith("1:5, number ")
    assert len(found.chosen) == len(set(found.chosen)) == 256


def test_the_limits_are_those_of_the_docs() -> None:
    """A name needs a strength that untrained networks do not reach together with a lead."""
    assert (MIN_STRENGTH, MIN_LEAD) == ({"binary": 0.55, "ordinal": 0.6}, 0.05)
    assert str(Named(0, 48, "braces", 0.974, "balanced accuracy")) == (
        "0:48 knows it is inside { } (balanced accuracy 0.97)"
    )
