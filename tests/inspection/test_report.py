"""The page: what is in it, that nothing in it can act, and, where there is a browser, that it comes up."""

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from conftest import make_model
from inspection.handset import LATCH, TEXT, VOCABULARY, WWW, expected_cells, golden_model
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.naming import Named
from nextchar.inspection.reach import reach
from nextchar.inspection.relations import alone, direct_effect
from nextchar.inspection.report import (
    DECADES,
    GATE_STEPS,
    MAIN_STEPS,
    REACH_DISTANCE,
    REACH_PLACES,
    inspect,
    neuron_page,
    parse_neurons,
    typical_place,
)
from nextchar.inspection.summary import BINS, WINDOW
from nextchar.inspection.trace import trace
from nextchar.inspection.unit import BY_CHARACTER, DECILES, PRIOR, deciles, ends
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

HOSTILE = "</script><b>&amp;[[x]]\n\t\x00 שלום \u202e\u2028/* data *//* program */" * 3


class Outline(HTMLParser):
    """Collects the tags of a page, and what the data are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.data = ""
        self._reading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        self._reading = ("id", "data") in attrs
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        """Keep the data."""
        if self._reading:
            self.data += data

    def handle_endtag(self, _tag: str) -> None:
        """Note where the data end."""
        self._reading = False


def _data(page: str) -> dict[str, Any]:
    return json.loads(Outline(page).data)


def _unpacked(packed: str, dtype: Any) -> Any:
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype)


def test_the_page_holds_the_values_of_the_equations() -> None:
    """What is packed is the trace: ids, surprisals, ranks, likeliest, and each planted unit to its steps."""
    lm = golden_model()
    planted = [(0, unit) for unit in range(WWW + 1)]
    data, seen = _data(inspect(lm, TEXT, neurons=planted)), trace(lm, TEXT)
    assert _unpacked(data["ids"], np.uint32).tolist() == seen.ids.tolist()
    assert _unpacked(data["rank"], np.uint32).tolist() == seen.rank.tolist()
    assert _unpacked(data["likeliest"], np.uint32).tolist() == seen.likeliest.ravel().tolist()
    surprisal, entropy = _unpacked(data["milli"], np.uint16).reshape(2, -1)
    np.testing.assert_allclose(surprisal / 1000, seen.surprisal, atol=1.001e-3)
    np.testing.assert_allclose(entropy / 1000, seen.entropy, atol=1.001e-3)
    chances = _unpacked(data["probabilities"], np.uint8).reshape(-1, 5) / 255
    np.testing.assert_allclose(chances, seen.probabilities, atol=0.5001 / 255)
    signals = {signal["name"]: _unpacked(signal["values"], np.int8) for signal in data["signals"]}
    values = signals["tanh(c)"].reshape(len(planted), -1) / MAIN_STEPS
    np.testing.assert_allclose(values.T, np.tanh(expected_cells(TEXT)), atol=0.5001 / MAIN_STEPS)
    opened = signals["i"].reshape(len(planted), -1)[LATCH] / GATE_STEPS
    assert opened.tolist() == [float(character == "[") for character in TEXT]
    assert data["units"][LATCH]["strongest"][0][0] == 0
    assert "".join(data["vocabulary"][index] for index in data["units"][LATCH]["strongest"][0][1]).startswith(
        "see [the"
    )


def test_units_that_matter_are_shown(text: str) -> None:
    """Without a choice there are 40 at most, the most important first; less is read if that is asked for."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    data = _data(inspect(lm, text[:5000], chars=3000))
    assert (data["characters"], data["shown"], len(data["units"]), data["ranked"]) == (3000, 3000, 16, True)
    assert [unit["place"] for unit in data["units"]] == list(range(1, 17))
    assert sum(data["units"][0]["histogram"]) == 3000
    assert len(_unpacked(data["signals"][0]["values"], np.int8)) == 16 * 3000
    whole = trace(lm, text[:3000], units={0: [3]}).of(0, 3)
    (unit,) = (each for each in data["units"] if (each["layer"], each["unit"]) == (0, 3))
    assert unit["mean"] == pytest.approx(whole.mean(), abs=1e-4)
    assert len(_data(inspect(lm, text[:5000], chars=None))["units"][0]["histogram"]) == BINS


def test_what_is_read_beyond_what_is_shown_counts(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics are of everything that is read, though the page shows less."""
    monkeypatch.setattr("nextchar.inspection.report.SHOWN", 100)
    data = _data(inspect(make_model(Corpus.from_text(text).vocabulary), text[:3000]))
    assert (data["characters"], data["shown"]) == (3000, 100)
    assert sum(data["units"][0]["histogram"]) == 3000
    assert len(_unpacked(data["signals"][0]["values"], np.int8)) == 16 * 100


def test_names_come_first(text: str) -> None:
    """Units whose names are given come before those that matter, and a page of chosen units has their names, too."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    ids, name = lm.vocabulary.encode(text[:1000]), Named(1, 6, "braces", 0.97, "balanced accuracy")
    first, *others = _data(neuron_page(lm, ids, named=[name]))["units"]
    assert (first["layer"], first["unit"]) == (1, 6)
    assert first["named"] == {"phrase": "knows it is inside { }", "score": 0.97, "measure": "balanced accuracy"}
    assert not any("named" in unit for unit in others)
    chosen = _data(neuron_page(lm, ids, neurons="0:1,1:6", named=[name]))
    assert ["named" in unit for unit in chosen["units"]] == [False, True]
    assert chosen["ranked"] is False
    with pytest.raises(ConfigError, match="no unit 1:8"):
        neuron_page(lm, ids, named=[replace(name, unit=8)])


def test_the_first_place_is_where_a_unit_changes() -> None:
    """It is the beginning of a line in the second half; without lines, the beginning."""
    text = "a\n" * 100 + "aaaaaaaa\n" + "[x]\n" * 10 + "a\n" * 60
    ids = VOCABULARY.encode(text)
    values = np.array([float(character in "[x") for character in text])
    assert typical_place(values, ids, VOCABULARY, 40) == text.index("[x]")
    assert typical_place(values, ids, Vocabulary("characters", VOCABULARY.codes[1:]), 40) == 0


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_has_a_page(cell: str, text: str) -> None:
    """A gru has two gates to show, an rnn none."""
    data = _data(inspect(make_model(Corpus.from_text(text).vocabulary, cell=cell), text[:200]))
    assert [signal["name"] for signal in data["signals"]] == ["h", *{"gru": ["r", "z", "n"], "rnn": []}[cell]]
    assert {each["gate"] for each in data["saturation"]} == {"gru": {"r", "z"}, "rnn": set()}[cell]


def test_nothing_in_the_page_can_act() -> None:
    """A hostile text and title add no tag, and the page names no address and forbids itself every one."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    page, plain = inspect(lm, HOSTILE, title=HOSTILE), inspect(lm, "x" * len(HOSTILE))
    assert Outline(page).tags == Outline(plain).tags
    assert Outline(page).addresses == ["data:,"]
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
    data = _data(page)
    assert data["title"] == HOSTILE
    assert {character for shown in data["vocabulary"] for character in shown if ord(character) < 32} == {"\n", "\t"}


def test_what_cannot_be_is_refused(text: str) -> None:
    """Units that are not there or not written so, nothing to show, and no text: one sentence each."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    with pytest.raises(ConfigError, match="no unit 0:8"):
        inspect(lm, text, neurons=[(0, 8)])
    with pytest.raises(ConfigError, match="1 or more"):
        inspect(lm, text, chars=0)
    with pytest.raises(TextError):
        inspect(lm, "")
    assert parse_neurons("0:3,1:17") == [(0, 3), (1, 17)]
    for words in ("3", "a:b", "0:1:2", ""):
        with pytest.raises(ConfigError, match="LAYER:UNIT"):
            parse_neurons(words)


def test_the_page_of_a_unit_says_what_the_trace_does(text: str) -> None:
    """Means at characters, gates, effects, neighbours and timescales of a unit are those of the whole text."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    ids = lm.vocabulary.encode(text[:3000])
    data, seen = _data(inspect(lm, text[:3000])), trace(lm, text[:3000])
    for unit in data["units"]:
        place = unit["layer"], unit["unit"]
        value, opened = seen.of(*place), seen.of(*place, "f")
        (highest, most, count), *_ = unit["characters"][0]
        assert most == pytest.approx(value[ids == highest].mean(), abs=6e-4)
        assert count == (ids == highest).sum()
        weighed = [
            (value[ids == index].sum() + PRIOR * value.mean()) / ((ids == index).sum() + PRIOR)
            for index in set(ids.tolist())
        ]
        mine = (value[ids == highest].sum() + PRIOR * value.mean()) / (count + PRIOR)
        assert mine == pytest.approx(max(weighed), abs=6e-4)
        shut, least, times, drive = unit["drivers"]["f"][1][0]
        assert least == pytest.approx(opened[ids == shut].mean(), abs=6e-4)
        assert times == (ids == shut).sum()
        assert (drive is None) == (place[0] > 0)
        if drive is not None:
            assert drive == pytest.approx(alone(lm.network)["f"][shut, place[1]], abs=6e-4)
        effect = direct_effect(lm.network, place[0])
        assert effect is not None
        raised, by = unit["effect"][0][0]
        assert by == pytest.approx(effect[raised, place[1]] * seen.of(*place, "h").std(), abs=2e-3)
        layer, other, r = unit["alike"][0][0]
        together = np.corrcoef(value, seen.of(layer, other))[0, 1]
        assert r == pytest.approx(together, abs=0.02)
        assert unit["timescales"][0] == pytest.approx(-1 / np.log(opened.astype(float)).mean(), abs=0.01)
    assert sorted(data["order"]) == list(range(16))


def test_windows_of_each_tenth_go_from_the_highest_to_the_lowest(random: np.random.Generator) -> None:
    """Ten windows represent all: each is the median of its decile by the mean; a few windows are shown once each."""
    values, ids = random.normal(size=100 * WINDOW + 5), np.arange(100 * WINDOW + 5)
    found = deciles(values, ids)
    means = np.sort(values[: 100 * WINDOW].reshape(100, WINDOW).mean(1))[::-1]
    assert [mean for *_, mean in found] == pytest.approx(means[5::10], abs=6e-4)
    assert all(members == ids[begin : begin + WINDOW].tolist() for begin, members, _ in found)
    assert len(found) == DECILES
    assert len(deciles(values[:200], ids[:200])) == 3
    assert deciles(values[:3], ids[:3])[0][:2] == [0, [0, 1, 2]]


def test_the_ends_leave_out_what_is_not_known() -> None:
    """The most extreme come first at both ends."""
    assert ends(np.array([0.5, np.nan, 2.0, 1.0]), 2) == ([[2, 2.0], [3, 1.0]], [[0, 0.5], [3, 1.0]])
    assert ends(np.array([np.nan]), BY_CHARACTER) == ([], [])


def test_the_reach_in_the_page_is_that_of_its_beginning(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are in bits, and gradients shades of powers of ten; a text of one character has none."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    monkeypatch.setattr("nextchar.inspection.report.REACH_CHARS", 700)
    data = _data(inspect(lm, text[:900]))["reach"]
    found = reach(lm, text[:700], places=REACH_PLACES, distance=REACH_DISTANCE)
    assert data["cost"] == pytest.approx(found.cost / np.log(2), abs=1e-4)
    assert (data["loss"], data["enough"]) == (pytest.approx(found.loss / np.log(2), abs=1e-4), found.enough)
    shades = _unpacked(data["shades"], np.uint8).reshape(found.gradient.shape) / 255
    largest = found.gradient.max(1, keepdims=True)
    np.testing.assert_array_equal(shades.max(1), 1)
    seen = found.gradient > largest * 10.0**-DECADES
    np.testing.assert_allclose(((shades - 1) * DECADES)[seen], np.log10(found.gradient / largest)[seen], atol=0.02)
    assert _data(inspect(lm, "d"))["reach"] is None


def test_progress_is_told(text: str) -> None:
    """Every stage is reported, and reading by the number of characters."""
    lm, stages = make_model(Corpus.from_text(text).vocabulary), list[tuple[str, int, int]]()
    neuron_page(lm, lm.vocabulary.encode(text[:10_000]), on_progress=lambda *stage: stages.append(stage))
    assert stages == [
        ("reading", 8192, 10_000),
        ("reading", 10_000, 10_000),
        ("naming neurons", 10_000, 10_000),
        ("measuring how far back it looks", 10_000, 10_000),
    ]
