"""The pages in a browser without a network: they load without errors and react to keys and pointer."""

import math
from pathlib import Path

import pytest

from conftest import make_model
from inspection.browser import BROWSER, Page
from inspection.handset import DEPTH, LATCH, TEXT, expected_cells, golden_model
from nextchar.inspection.report import MAIN_STEPS, report
from nextchar.inspection.strip import diverging
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

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
    page.open(_address(tmp_path, report(lm, HOSTILE, title=HOSTILE), "#unit=1:5&at=20&signal=f"))
    assert page.ask("$('title').textContent") == HOSTILE
    assert page.ask("document.querySelectorAll('b > b, h1 > *').length") == 0
    assert page.ask("$('name').textContent") == "Unit 1:5"
    assert page.ask("$('range').textContent").startswith("f of unit 1:5")
    assert page.ask("$('low').textContent + ' to ' + $('high').textContent") == "0 to 1"
    assert "character 20" in page.ask("$('here').textContent")
    shown = page.ask("[...$('strongest').querySelectorAll('bdo')].map((line) => line.textContent).join('')")
    assert "</script><b>&amp;[[x]]↵→\\x00·שלום·\\u202e\\u2028/*·data·*/" in shown


def _corner(page: Page, name: str) -> tuple[float, float]:
    """Return where an element begins."""
    x, y = page.ask(f"(({{ x, y }}) => [x, y])($('{name}').getBoundingClientRect())")
    return x, y


@pytest.mark.slow
def test_the_planted_latch_is_seen(page: Page, tmp_path: Path) -> None:
    """The values and the colour under the pointer are those of the equations."""
    page.open(_address(tmp_path, report(golden_model(), TEXT, units=[(0, LATCH), (0, DEPTH)])))
    x, y = _corner(page, "strip")
    held = [row[LATCH] for row in expected_cells(TEXT)[:40]]
    for at, value in enumerate(held):
        page.point(x + 13 * at + 6, y + 12)
        said = page.ask("$('here').textContent")
        assert f"character {at}" in said
        assert f"tanh(c){math.tanh(value):.2f}" in said
    line = page.ask(f"[...$('strip').firstChild.getContext('2d').getImageData(0, 7, {13 * 40}, 1).data]")
    colours = [tuple(line[52 * at + 4 : 52 * at + 7]) for at in range(40)]
    step = round(math.tanh(1) * MAIN_STEPS) / MAIN_STEPS
    assert colours == [diverging(step if value else 0, -1, 1) for value in held]


@pytest.mark.slow
def test_keys_search_and_address(page: Page, tmp_path: Path, text: str) -> None:
    """Arrows step through the units, a search goes from place to place, and the address brings all of it back."""
    text = text[:5000]
    address = _address(tmp_path, report(make_model(Corpus.from_text(text).vocabulary), text))
    page.open(address)
    names = page.ask("[...$('units').children].map((button) => button.textContent)")
    assert page.ask("$('name').textContent") == f"Unit {names[0]}"
    page.key("ArrowRight")
    assert page.ask("$('name').textContent") == f"Unit {names[1]}"
    page.key("ArrowLeft")
    page.key("ArrowLeft")
    assert page.ask("$('name').textContent") == f"Unit {names[-1]}"
    page.key("/")
    assert page.ask("document.activeElement.id") == "find"
    page.ask("$('find').value = 'self'; $('find').dispatchEvent(new Event('input'))")
    for _ in range(2):
        page.ask("$('search').requestSubmit()")
    places = [at for at in range(len(text)) if text.startswith("self", at)]
    assert f"at={places[1]}&" in page.ask("location.hash")
    assert page.ask("$('found').textContent") == f"2 of {len(places)} found"
    page.ask(
        "$('order').value = 'likeness'; $('order').dispatchEvent(new Event('change')); $('raster').scrollIntoView()"
    )
    x, y = _corner(page, "raster")
    page.drag((x + 100, y + 20), (x + 300, y + 20))
    view = page.ask("location.hash")
    assert view.startswith(f"#unit={names[-1]}&at={places[1]}&find=self&view=")
    stretch = page.ask("$('raster-here').textContent")
    page.open(address + view)
    assert page.ask("location.hash") == view
    assert page.ask("$('raster-here').textContent") == stretch
    assert page.ask("$('name').textContent + $('find').value + $('order').value") == f"Unit {names[-1]}selflikeness"


@pytest.mark.slow
def test_what_cannot_be_typed_is_found(page: Page, tmp_path: Path) -> None:
    """A model of bytes is searched in UTF-8; white space also by its symbol, unless that is a character of the text."""
    lm = make_model(Vocabulary("bytes", tuple(range(256))))
    page.open(_address(tmp_path, report(lm, "é[x]é"), "#find=é"))
    assert page.ask("$('found').textContent") == "2 found"
    page.open(_address(tmp_path, report(make_model(Corpus.from_text("a\nb ").vocabulary), "a\nb a\n"), "#find=a↵"))
    assert page.ask("$('found').textContent") == "2 found"


@pytest.mark.slow
def test_a_page_of_full_size_is_quick(page: Page, tmp_path: Path, text: str) -> None:
    """20,000 characters of 64 units are at most 5 MB, painted within a second, and follow the pointer within 50 ms."""
    lm = make_model(Corpus.from_text(text).vocabulary, hidden=32)
    html = report(lm, text)
    assert len(html.encode()) <= 5_000_000
    for _ in range(3):  # the machine may have other work: one quick time is enough
        page.open(_address(tmp_path, html))
        painted = page.ask(PAINTED)
        if painted < 1000:
            break
    assert painted < 1000
    x, y = _corner(page, "strip")
    page.ask(f"globalThis.took = []; $('strip').addEventListener('mousemove', {TIMED})")
    for step in range(10):
        page.point(x + 20 + 13 * step, y + 20)
    took = page.ask("took")
    assert len(took) == 10
    assert min(took) < 50


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_comes_up(page: Page, tmp_path: Path, text: str, cell: str) -> None:
    """A gru has no cell, an rnn no gates, and one character no reach."""
    lm = make_model(Corpus.from_text(text).vocabulary, cell=cell, sum_outputs=False)
    for length in (300, 1):
        page.open(_address(tmp_path, report(lm, text[:length])))
        assert page.ask("document.querySelector('.saturated').hidden") == (cell == "rnn")
        assert page.ask("$('memory').hidden") == (length == 1)
