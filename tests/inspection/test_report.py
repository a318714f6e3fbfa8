"""The page: what is in it, that nothing in it can act, and, where there is a browser, that it comes up."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_model
from inspection.handset import LATCH, TEXT, WWW, expected_cells, golden_model
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.report import GATE_STEPS, MAIN_STEPS, parse_units, report
from nextchar.inspection.trace import trace
from nextchar.text.corpus import Corpus

HOSTILE = "</script><b>&amp;[[x]]\n\t\x00 שלום \u202e\u2028/* data *//* program */" * 3
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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
    assert parse_units("0:3,1:17") == [(0, 3), (1, 17)]
    for words in ("3", "a:b", "0:1:2", ""):
        with pytest.raises(ConfigError, match="LAYER:UNIT"):
            parse_units(words)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_page_comes_up_in_a_browser(tmp_path: Path) -> None:
    """Without a network the page draws itself to the end, shows a hostile text literally, and reports no error."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    page = tmp_path / "page.html"
    page.write_text(report(lm, HOSTILE, title=HOSTILE), encoding="utf-8")
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=5000",
    )
    offline = ("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}")
    result = subprocess.run(
        [str(BROWSER), *options, *offline, "--dump-dom", f"{page.as_uri()}#unit=1:5&at=20"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 'data-ready="yes"' in result.stdout
    assert ">Unit 1:5<" in result.stdout
    assert re.search(r"character 20<", result.stdout)
    assert "&lt;/script&gt;&lt;b&gt;" in result.stdout
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []
