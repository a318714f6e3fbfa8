"""The page of the claims in a browser: findings first, the rest folded, on wide and on narrow screens."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from browser import BROWSER, Page
from discovery.golden import golden_text
from inspection.handset import COLUMN, LATCH, golden_model
from nextchar.discovery.claims import NOTHING, Claims
from nextchar.discovery.page import claims_page
from nextchar.discovery.pipeline import claims_of
from nextchar.discovery.study import Search, Study, prepare

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"), pytest.mark.slow]

HOSTILE = "</script><b>&amp;[[x]]\n\u202e/* data *//* program */"
HEAD = "$('claim').querySelector('h2').textContent"
WIDER = "document.documentElement.scrollWidth > innerWidth"


@cache
def searched() -> tuple[Study, Claims]:
    """Return the study of the golden network, with causal tests, and its claims."""
    study = prepare(golden_model(), golden_text(8000), "general", Search(shifts=99, rotations=1, steered=1))
    return study, claims_of(study, "general")


def written(folder: Path, claims: Claims, study: Study) -> str:
    """Write a page and return its address."""
    path = folder / "discover.html"
    path.write_text(claims_page(claims, study, title=HOSTILE, inspected="inspect.html"), encoding="utf-8")
    return path.as_uri()


def test_findings_come_first(page: Page, tmp_path: Path) -> None:
    """One card for each finding: its name, its text in lines, its numbers, what holding it does; the rest is folded."""
    study, claims = searched()
    page.open(written(tmp_path, claims, study))
    assert page.ask("$('title').textContent") == HOSTILE
    names = page.ask("[...document.querySelectorAll('article h3')].map((title) => title.textContent)")
    assert names == [f"{each.unit} {each.name}" for each in claims.findings]
    latch = next(each for each in claims.findings if each.feature == "brackets")
    card = f"document.querySelectorAll('article')[{claims.findings.index(latch)}]"
    shown = page.ask(f"{card}.textContent")
    assert latch.numbers in shown
    assert latch.held in shown
    assert "orange: the neuron says yes" in shown
    (excerpt,) = (text for text in [page.ask(f"{card}.querySelector('.strip').textContent")])
    assert excerpt.replace("↵\n", "\n") in study.text
    assert excerpt.count("↵\n") > 3
    on = f"[...{card}.querySelectorAll('.strip span')].filter((letter) => letter.title.endsWith(' 9/9'))"
    underlined = page.ask(f"{on}.map((letter) => letter.textContent).join('')")
    assert "[" in underlined
    assert "]" not in underlined
    assert page.ask(f"{card}.querySelectorAll('.turns tr').length") == 2
    steered = next(each for each in claims.findings if claims[each.feature].steer)
    card = f"document.querySelectorAll('article')[{claims.findings.index(steered)}]"
    page.ask(f"{card}.querySelector('.held summary').click()")
    texts = page.ask(f"[...{card}.querySelectorAll('.held[open] pre')].map((text) => text.textContent)")
    steering = claims[steered.feature].steer
    assert steering
    assert texts == [steering.samples[-1], steering.samples[0]]
    assert not page.ask("$('science').open")
    assert page.ask("location.hash") == ""


def test_the_folded_part_opens_at_a_claim(page: Page, tmp_path: Path) -> None:
    """A link of a card, a click, arrow keys and the address choose a claim; every feature has its line."""
    study, claims = searched()
    address = written(tmp_path, claims, study)
    page.open(address)
    features = [claim.feature for claim in claims.claims]
    rows = "[...document.querySelectorAll('#claims [data-feature]')].map((row) => row.dataset.feature)"
    assert page.ask(rows) == features
    page.ask(
        "new Promise((done) => { addEventListener('hashchange', () => setTimeout(done)); "
        "document.querySelector('article a[href=\"#brackets\"]').click() })"
    )
    assert page.ask("$('science').open")
    assert page.ask(HEAD).startswith(f"brackets, neuron 0:{LATCH}: ")
    assert page.ask("$('claim').querySelector('a').getAttribute('href')") == f"inspect.html#unit=0:{LATCH}"
    assert page.ask("$('claim').textContent").count("percentile") == 1
    page.key("ArrowRight")
    after = features[(features.index("brackets") + 1) % len(features)]
    assert page.ask(HEAD).startswith(f"{after}, ")
    assert page.ask("location.hash") == f"#{after}"
    page.key("ArrowLeft")
    assert page.ask(HEAD).startswith("brackets, ")
    page.ask("document.querySelector('[data-feature=column] button').click()")
    assert page.ask("document.querySelector('[aria-selected=true]').dataset.feature") == "column"
    page.ask("document.querySelector('#science > summary').click()")
    page.key("ArrowRight")
    assert page.ask(HEAD).startswith(f"column, neuron 0:{COLUMN}: ")
    assert page.ask("document.querySelectorAll('#table tr').length") == 1 + len(claims.table["features"])
    page.open(address + "#column")
    assert page.ask("$('science').open")
    assert page.ask(HEAD).startswith(f"column, neuron 0:{COLUMN}: ")


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_screen(page: Page, tmp_path: Path, width: int) -> None:
    """Folded and open, only the tables scroll sideways, each in its own box."""
    study, claims = searched()
    address = written(tmp_path, claims, study)
    for view in ("", "#brackets"):
        page.open(address + view, width)
        assert not page.ask(WIDER)
    assert page.ask("document.querySelector('.scroll').scrollWidth > document.querySelector('.scroll').clientWidth")


def test_what_was_not_tested_or_not_found_is_said(page: Page, tmp_path: Path) -> None:
    """Without causal tests every line says so; without findings the page says what to try."""
    study, claims = searched()
    bare = [replace(claim, effect=None, patch=None, steer=None) for claim in claims.claims]
    skipped = replace(claims, settings={**claims.settings, "causal": False}, claims=bare, findings=[])
    page.open(written(tmp_path, skipped, study))
    cells = "[...document.querySelectorAll('#claims td')].filter((cell) => cell.textContent === 'causal test skipped')"
    assert page.ask(f"{cells}.length") == 2 * len(bare)
    assert page.ask("$('intro').textContent") == NOTHING
    assert page.ask("document.querySelectorAll('article').length") == 0
