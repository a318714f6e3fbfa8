"""The page: what is in it, that nothing in it can act, and, where there is a browser, that it comes up."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from conftest import make_model
from inspection.handset import LATCH, TEXT, WWW, expected_cells, golden_model
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.reach import reach
from nextchar.inspection.relations import alone, direct_effect
from nextchar.inspection.report import DECADES, GATE_STEPS, MAIN_STEPS, parse_neurons, report
from nextchar.inspection.summary import WINDOW
from nextchar.inspection.trace import trace
from nextchar.inspection.unit import BY_CHARACTER, DECILES, deciles, ends
from nextchar.text.corpus import Corpus

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
    data, seen = _data(report(lm, TEXT, units=planted)), trace(lm, TEXT)
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
        "see·[the"
    )


def test_the_units_that_vary_most_are_shown(text: str) -> None:
    """Without a choice there are 64 at most, the most varied first, all from the whole text though less is shown."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    data = _data(report(lm, text[:3000], shown=100))
    assert (data["characters"], data["shown"], len(data["units"])) == (3000, 100, 16)
    spread = [unit["deviation"] for unit in data["units"]]
    assert spread == sorted(spread, reverse=True)
    assert sum(data["units"][0]["histogram"]) == 3000
    assert len(_unpacked(data["signals"][0]["values"], np.int8)) == 16 * 100
    whole = trace(lm, text[:3000], units={0: [3]}).of(0, 3)
    (unit,) = (each for each in data["units"] if (each["layer"], each["unit"]) == (0, 3))
    assert unit["mean"] == pytest.approx(whole.mean(), abs=1e-4)


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_has_a_page(cell: str, text: str) -> None:
    """A gru has two gates to show, an rnn none."""
    data = _data(report(make_model(Corpus.from_text(text).vocabulary, cell=cell), text[:200]))
    assert [signal["name"] for signal in data["signals"]] == ["h", *{"gru": ["r", "z", "n"], "rnn": []}[cell]]
    assert {each["gate"] for each in data["saturation"]} == {"gru": {"r", "z"}, "rnn": set()}[cell]


def test_nothing_in_the_page_can_act() -> None:
    """A hostile text and title add no tag, and the page names no address and forbids itself every one."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    page, plain = report(lm, HOSTILE, title=HOSTILE), report(lm, "x" * len(HOSTILE))
    assert Outline(page).tags == Outline(plain).tags
    assert Outline(page).addresses == ["data:,"]
    assert "default-src 'none'" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)
    data = _data(page)
    assert data["title"] == HOSTILE
    assert not any(ord(character) < 32 for shown in data["vocabulary"] for character in shown)


def test_what_cannot_be_is_refused(text: str) -> None:
    """Units that are not there or not written so, nothing to show, and no text: one sentence each."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    with pytest.raises(ConfigError, match="no unit 0:8"):
        report(lm, text, units=[(0, 8)])
    with pytest.raises(ConfigError, match="1 or more"):
        report(lm, text, shown=0)
    with pytest.raises(TextError):
        report(lm, "")
    assert parse_neurons("0:3,1:17") == [(0, 3), (1, 17)]
    for words in ("3", "a:b", "0:1:2", ""):
        with pytest.raises(ConfigError, match="LAYER:UNIT"):
            parse_neurons(words)


def test_the_page_of_a_unit_says_what_the_trace_does(text: str) -> None:
    """Means at characters, gates, effects, neighbours and timescales of a unit are those of the whole text."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    ids = lm.vocabulary.encode(text[:3000])
    data, seen = _data(report(lm, text[:3000], shown=1000)), trace(lm, text[:3000])
    for unit in data["units"]:
        place = unit["layer"], unit["unit"]
        value, opened = seen.of(*place), seen.of(*place, "f")
        (highest, most), *_ = unit["characters"][0]
        assert most == pytest.approx(value[ids == highest].mean(), abs=6e-4)
        assert all(value[ids == index].mean() <= most + 6e-4 for index in set(ids.tolist()))
        shut, least, drive = unit["drivers"]["f"][1][0]
        assert least == pytest.approx(opened[ids == shut].mean(), abs=6e-4)
        assert (drive is None) == (place[0] > 0)
        if drive is not None:
            assert drive == pytest.approx(alone(lm.network)["f"][shut, place[1]], abs=6e-4)
        effect = direct_effect(lm.network, place[0])
        assert effect is not None
        raised, by = unit["effect"][0][0]
        assert by == pytest.approx(effect[raised, place[1]] * seen.of(*place, "h").std(), abs=2e-3)
        layer, other, r = unit["alike"][0][0]
        together = np.corrcoef(value[:1000], seen.of(layer, other)[:1000])[0, 1]
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


def test_the_reach_in_the_page_is_that_of_the_shown_text(text: str) -> None:
    """Curves are in bits, and gradients shades of powers of ten; a text of one character has none."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    data, found = _data(report(lm, text[:900], shown=700))["reach"], reach(lm, text[:700])
    assert data["cost"] == pytest.approx(found.cost / np.log(2), abs=1e-4)
    assert (data["loss"], data["enough"]) == (pytest.approx(found.loss / np.log(2), abs=1e-4), found.enough)
    shades = _unpacked(data["shades"], np.uint8).reshape(found.gradient.shape) / 255
    largest = found.gradient.max(1, keepdims=True)
    np.testing.assert_array_equal(shades.max(1), 1)
    seen = found.gradient > largest * 10.0**-DECADES
    np.testing.assert_allclose(((shades - 1) * DECADES)[seen], np.log10(found.gradient / largest)[seen], atol=0.02)
    assert _data(report(lm, "d"))["reach"] is None
