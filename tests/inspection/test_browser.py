"""The pages in a browser without a network: they load without errors and react to keys and pointer."""

import math
from pathlib import Path

import pytest

from browser import BROWSER, Page
from conftest import make_model
from inspection.handset import DEPTH, LATCH, TEXT, expected_cells, golden_model
from nextchar.inspection.naming import Named
from nextchar.inspection.report import MAIN_STEPS, inspect, neuron_page
from nextchar.inspection.strip import diverging
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

CELL, PITCH = 9, 22  # of strip.js
PAINTED = """new Promise((done) => new PerformanceObserver((seen) => done(seen.getEntries()[0].startTime))
    .observe({ type: "paint", buffered: true }))"""
TIMED = "(event) => took.push(performance.now() - event.timeStamp)"  # after the page's own listener
HOSTILE = "</script><b>&amp;[[x]]\n\t\x00 שלום \u202e\u2028/* data *//* program */" * 30


def _address(folder: Path, html: str, view: str = "") -> str:
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri() + view


@pytest.mark.slow
def test_a_hostile_text_is_shown_as_it_is(page: Page, tmp_path: Path) -> None:
    """Tags in text and title stay text, every view is drawn, and the address holds the selection."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    page.open(_address(tmp_path, inspect(lm, HOSTILE, title=HOSTILE), "#unit=1:5&at=20&signal=f"))
    assert page.ask("$('title').textContent") == HOSTILE
    assert page.ask("document.querySelectorAll('b > b, h1 > *').length") == 0
    assert page.ask("$('name').textContent") == "Neuron 1:5"
    assert (
        page.ask("$('legend').textContent")
        == "Colour of a character: the forget gate of neuron 1:5: 0 closedhalf1 open"
    )
    assert "Character 21 of " in page.ask("$('here').textContent")
    shown = page.ask("[...$('strongest').querySelectorAll('bdo')].map((line) => line.textContent).join('')")
    assert "</script><b>&amp;[[x]]↵\t\\x00 שלום \\u202e\\u2028/* data */" in shown


def _corner(page: Page, name: str) -> tuple[float, float]:
    """Return where an element begins."""
    x, y = page.ask(f"(({{ x, y }}) => [x, y])($('{name}').getBoundingClientRect())")
    return x, y


@pytest.mark.slow
def test_the_planted_latch_is_seen(page: Page, tmp_path: Path) -> None:
    """The values and the colour under the pointer are those of the equations."""
    page.open(_address(tmp_path, inspect(golden_model(), TEXT, neurons=[(0, LATCH), (0, DEPTH)]), "#at=0"))
    x, y = _corner(page, "strip")
    line = TEXT[: TEXT.index("\n")]
    held = [row[LATCH] for row in expected_cells(TEXT)[: len(line)]]
    for at, value in enumerate(held):
        page.point(x + 1 + CELL * (at + 0.5), y + 12)
        said = page.ask("$('here').textContent")
        assert f"Character {at + 1} of {len(TEXT)}: {line[at].replace(' ', '·')}" in said
        assert f"after it {math.tanh(value):.2f}" in said
        assert ("input gate 1.00 lets the new value in" in said) == (line[at] == "[")
        assert page.ask("$('tip').textContent").startswith("next? ")
        assert page.ask("$('tip').hidden") is False
    strip = page.ask(f"[...$('strip').firstChild.getContext('2d').getImageData(0, 4, {CELL * len(line)}, 1).data]")
    colours = [tuple(strip[4 * (CELL * at + 1) : 4 * (CELL * at + 1) + 3]) for at in range(len(line) - 1)]
    step = round(math.tanh(1) * MAIN_STEPS) / MAIN_STEPS
    assert colours == [diverging(step if value else 0, -1, 1) for value in held[:-1]]
    page.point(5, 5)
    assert page.ask("$('tip').hidden") is True


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_every_control_works(page: Page, tmp_path: Path, text: str, width: int) -> None:
    """Buttons, keys and the list of neurons: each changes what it says; nothing is wider than the window."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    names = [Named(1, 6, "braces", 0.97, "balanced accuracy"), Named(0, 2, "column", 0.81, "correlation")]
    page.open(_address(tmp_path, neuron_page(lm, lm.vocabulary.encode(text[:3000]), named=names)), width, 844)
    name = "$('name').textContent"
    assert page.ask(name) == "Neuron 1:6 knows it is inside { }"
    said = page.ask("$('evidence').textContent")
    assert said.startswith(
        "Found by discover; on text that its search did not see, its balanced accuracy is 0.97 (0.5 is chance"
    )
    page.ask("$('next').click()")
    assert page.ask(name) == "Neuron 0:2 knows its position in the line"
    assert "its correlation is 0.81 (0 is chance" in page.ask("$('evidence').textContent")
    page.ask("$('back').click()")
    page.ask("[...document.querySelectorAll('nav button')].at(2).click()")
    assert "number 1 by importance" in page.ask("$('evidence').textContent")
    assert page.ask("[...document.querySelectorAll('nav h4')].map((head) => head.textContent)") == [
        "named in words",
        "then by importance",
    ]
    pressed = "document.querySelector('#views [aria-pressed=true]').textContent"
    views = page.ask("[...$('views').children].map((button) => button.textContent)")
    assert views == ["neuron", "input gate", "forget gate", "candidate", "output gate", "surprisal"]
    for index, view in enumerate(views):
        page.ask(f"$('views').children[{index}].click()")
        assert page.ask(pressed) == view
        assert ("8 bits or more" in page.ask("$('legend').textContent")) == (view == "surprisal")
    page.key("s")
    assert page.ask(pressed) == "neuron"
    before = page.ask("$('strip').scrollHeight")
    page.key("p")
    assert page.ask("$('strip').scrollHeight") > 3 * before
    assert "most likely next characters" in page.ask("$('legend').textContent")
    page.ask("$('below').click()")
    assert page.ask("$('strip').scrollHeight") == before
    page.ask("document.querySelector('#strongest button').click()")
    assert page.ask("location.hash").startswith("#unit=")
    assert "at=" in page.ask("location.hash")
    assert page.ask("document.documentElement.scrollWidth - innerWidth") <= 0
    wide = (
        "[...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > innerWidth + 1)"
    )
    assert page.ask(f"{wide}.filter((each) => !each.closest('.window, #attribution')).length") == 0


@pytest.mark.slow
def test_lines_end_where_they_end_in_the_text(page: Page, tmp_path: Path) -> None:
    """A tab takes four columns, and a click finds the character in its line."""
    text = "ab\n\tcd\n" * 40
    page.open(_address(tmp_path, inspect(make_model(Corpus.from_text(text).vocabulary), text), "#at=0"))
    x, y = _corner(page, "strip")
    for column, line, at in ((1, 0, 1), (2, 1, 3), (4, 1, 4), (5, 1, 5), (0, 2, 7)):
        page.drag(
            (x + 1 + CELL * (column + 0.5), y + 12 + PITCH * line),
            (x + 1 + CELL * (column + 0.5), y + 12 + PITCH * line),
        )
        assert page.ask("location.hash").endswith(f"at={at}")


@pytest.mark.slow
def test_keys_search_and_address(page: Page, tmp_path: Path, text: str) -> None:
    """Arrows step through the units, a search goes from place to place, and the address brings all of it back."""
    text = text[:5000]
    address = _address(tmp_path, inspect(make_model(Corpus.from_text(text).vocabulary), text))
    page.open(address)
    names = page.ask("[...document.querySelectorAll('nav button')].map((button) => button.firstChild.textContent)")
    assert page.ask("$('name').textContent") == f"Neuron {names[0]}"
    page.key("ArrowRight")
    assert page.ask("$('name').textContent") == f"Neuron {names[1]}"
    page.key("ArrowLeft")
    page.key("ArrowLeft")
    assert page.ask("$('name').textContent") == f"Neuron {names[-1]}"
    page.key("/")
    assert page.ask("document.activeElement.id") == "find"
    page.ask("$('find').value = 'self'; $('find').dispatchEvent(new Event('input'))")
    start = page.ask("Number($('here').textContent.match(/Character ([0-9,]+)/)[1].replace(',', '')) - 1")
    for _ in range(2):
        page.ask("$('search').requestSubmit()")
    places = [at for at in range(len(text)) if text.startswith("self", at)]
    later = [at for at in places if at > start]
    second = (later + places)[1]
    assert f"at={second}&" in page.ask("location.hash")
    assert page.ask("$('found').textContent") == f"{places.index(second) + 1} of {len(places)} found"
    page.ask(
        "$('order').value = 'likeness'; $('order').dispatchEvent(new Event('change')); $('raster').scrollIntoView()"
    )
    x, y = _corner(page, "raster")
    page.drag((x + 100, y + 20), (x + 300, y + 20))
    view = page.ask("location.hash")
    assert view.startswith(f"#unit={names[-1]}&at={second}&find=self&view=")
    stretch = page.ask("$('raster-here').textContent")
    page.open(address + view)
    assert page.ask("location.hash") == view
    assert page.ask("$('raster-here').textContent") == stretch
    assert page.ask("$('name').textContent + $('find').value + $('order').value") == f"Neuron {names[-1]}selflikeness"


@pytest.mark.slow
def test_what_cannot_be_typed_is_found(page: Page, tmp_path: Path) -> None:
    """A model of bytes is searched in UTF-8; white space also by its symbol, unless that is a character of the text."""
    lm = make_model(Vocabulary("bytes", tuple(range(256))))
    page.open(_address(tmp_path, inspect(lm, "é[x]é"), "#find=é"))
    assert page.ask("$('found').textContent") == "2 found"
    page.open(_address(tmp_path, inspect(make_model(Corpus.from_text("a\nb ").vocabulary), "a\nb a\n"), "#find=a↵"))
    assert page.ask("$('found').textContent") == "2 found"


@pytest.mark.slow
def test_a_page_of_full_size_is_quick(page: Page, tmp_path: Path, text: str) -> None:
    """30,000 characters of 40 units are at most 5 MB, and painting and pointing are not slow by an order of magnitude.

    They take 0.15 s and some 20 ms (Chromium, one core of two busy); the limits leave room for a machine with other work.
    """
    lm = make_model(Corpus.from_text(text).vocabulary, hidden=32)
    html = inspect(lm, text)
    assert len(html.encode()) <= 5_000_000
    for _ in range(3):  # the machine may have other work: one quick time is enough
        page.open(_address(tmp_path, html))
        painted = page.ask(PAINTED)
        if painted < 10_000:
            break
    assert painted < 10_000
    x, y = _corner(page, "strip")
    page.ask(f"globalThis.took = []; $('strip').addEventListener('pointermove', {TIMED})")
    for step in range(10):
        page.point(x + 20 + CELL * step, y + 20)
    took = page.ask("took")
    assert len(took) == 10
    assert min(took) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_comes_up(page: Page, tmp_path: Path, text: str, cell: str) -> None:
    """A gru has no cell, an rnn no gates, and one character no reach."""
    lm = make_model(Corpus.from_text(text).vocabulary, cell=cell, sum_outputs=False)
    for length in (300, 1):
        page.open(_address(tmp_path, inspect(lm, text[:length])))
        assert page.ask("document.querySelector('.saturated').hidden") == (cell == "rnn")
        assert page.ask("$('memory').hidden") == (length == 1)
