"""The timeline of a run: its numbers, and its page in a browser."""

import math
from pathlib import Path
from typing import Any

import pytest

from browser import BROWSER, Page
from nextchar.inspection.timeline import timeline, timeline_page

with_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")

HOSTILE = "</script><b>&amp;[[x]]\n\t\x00 שלום \u202e\u2028"
WHEN = "$('when').textContent"
SHOWN = "document.querySelector('#samples [aria-current=true]').textContent"
WIDER = "document.documentElement.scrollWidth - innerWidth"
UNTIL = "new Promise((done) => new MutationObserver(() => {{ if ({0}) done(1); }}).observe($('{1}'), {{ childList: true }}))"


def _log(*steps: int) -> list[dict[str, Any]]:
    """Return a log with a progress, a validation and a sample at each of some steps; bits fall by one at each."""
    entries: list[dict[str, Any]] = [{"event": "started", "step": 0, "vocabulary": 64}]
    for k, step in enumerate(steps):
        entries += [
            {"event": "sampled", "step": step, "seconds": 61.0 * k, "text": f"sample {k} " + "wörds of it\n" * 9},
            {"event": "progress", "step": step + 1, "loss": (6 - k) * math.log(2)},
            {"event": "validated", "step": step + 3, "score": {"bits_per_char": 6.5 - k}},
        ]
    return entries


def _open(page: Page, folder: Path, html: str, width: int = 1440, height: int = 900, view: str = "") -> None:
    path = folder / "timeline.html"
    path.write_text(html, encoding="utf-8")
    page.open(path.as_uri() + view, width, height)


def _middle(page: Page, selector: str) -> tuple[float, float]:
    """Return the middle of an element."""
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    x, y = page.ask(f"((b) => [b.x + b.width / 2, b.y + b.height / 2])({box})")
    return x, y


def test_a_sample_has_the_losses_around_it() -> None:
    """Training: the mean that covers the sample's step, or the last one. Validation: soon after it, or the last one."""
    entries = [
        {"event": "progress", "step": 1, "loss": 4 * math.log(2)},
        {"event": "sampled", "step": 10, "seconds": 1.5, "text": "a"},
        {"event": "progress", "step": 12, "loss": 3 * math.log(2)},
        {"event": "validated", "step": 12, "score": {"bits_per_char": 2.5}},
        {"event": "sampled", "step": 12, "seconds": 2.5, "text": "b"},
        {"event": "sampled", "step": 20, "seconds": 9.5, "text": "c"},
        {"event": "validated", "step": 21, "score": {"bits_per_char": 2.4}},
    ]
    samples = timeline(entries)
    assert [sample["training_bits_per_char"] for sample in samples] == pytest.approx([3, 3, 3])
    assert [sample.get("validation_bits_per_char") for sample in samples] == [None, 2.5, 2.4]
    assert [sample["seconds"] for sample in samples] == [1.5, 2.5, 9.5]


@with_browser
def test_the_page_shows_text_as_it_is(page: Page, tmp_path: Path) -> None:
    """Tags stay text, in the samples and in the name of the run, and invisible characters are escaped."""
    entries = [{"event": "sampled", "step": 10, "text": HOSTILE}, {"event": "sampled", "step": 20, "text": "later"}]
    _open(page, tmp_path, timeline_page(entries, "<b>run</b>"))
    assert page.ask("document.title") == "<b>run</b>"
    assert page.ask("document.querySelectorAll('main b, h1 *').length") == 0
    assert page.ask(SHOWN).startswith("</script><b>&amp;[[x]]\n\t\\x00 שלום \\u202e")
    assert page.ask("[...document.querySelectorAll('article h2')].map((h) => h.textContent)") == ["First", "Last"]
    assert page.ask("$('curve').textContent") == "the run has no losses yet"
    _open(page, tmp_path, timeline_page([]))
    assert page.ask("$('player').textContent") == "the run has no samples yet"


@with_browser
def test_keys_buttons_and_marks_change_one_text(page: Page, tmp_path: Path) -> None:
    """Arrows, the slider's own keys, the buttons and a click on the curve show a sample in place of the other."""
    _open(page, tmp_path, timeline_page(_log(10, 20, 50, 100, 1000), "run"))
    assert page.ask(SHOWN).startswith("sample 0 ")
    assert page.ask(WHEN) == "step 10 · after 0:00 · training 6.00 bits per character"
    assert "over 64 characters is 6.00" in page.ask("$('unit').textContent")
    height = page.ask("$('samples').offsetHeight")
    for name, step in (("ArrowRight", 20), ("ArrowRight", 50), ("ArrowLeft", 20)):
        page.key(name)
        assert f"step {step} " in page.ask(WHEN)
    assert page.ask(WHEN) == "step 20 · after 1:01 · training 5.00, validation 6.50 bits per character"
    page.ask("$('slider').focus()")
    page.key("End")
    assert page.ask(WHEN).startswith("step 1,000 · after 4:04")
    assert page.ask("$('place').textContent") == "5 of 5"
    page.ask("$('back').click()")
    assert page.ask(SHOWN).startswith("sample 3 ")
    mark = _middle(page, "#curve circle:nth-of-type(3)")
    page.drag(mark, mark)
    assert page.ask(SHOWN).startswith("sample 2 ")
    assert page.ask("$('slider').value") == "2"
    assert page.ask("location.hash") == "#step=50"
    assert page.ask("$('samples').offsetHeight") == height
    heads = page.ask("[...document.querySelectorAll('article p')].map((p) => p.textContent.split(' · ')[0])")
    assert heads == ["step 10", "step 50", "step 1,000"]


@with_browser
def test_it_plays_to_the_end_and_pauses(page: Page, tmp_path: Path) -> None:
    """Space starts it, from the first sample again at the end, and pauses it; it stops at the last sample."""
    _open(page, tmp_path, timeline_page(_log(10, 20)), view="#step=20")
    page.key(" ")
    assert page.ask(SHOWN).startswith("sample 0 ")
    assert page.ask("$('play').textContent").endswith("Pause")
    page.key(" ")
    assert page.ask("$('play').textContent").endswith("Play")
    x, y = _middle(page, "#play")
    ended = UNTIL.format("$('play').textContent.endsWith('Play')", "play")
    page.drag((x, y), (x, y))
    page.ask(ended)
    assert page.ask(SHOWN).startswith("sample 1 ")


@with_browser
@pytest.mark.parametrize("width", [390, 1440])
def test_the_text_has_room(page: Page, tmp_path: Path, width: int) -> None:
    """Nothing is wider than the window; the first screen of a telephone holds controls and the whole text."""
    _open(page, tmp_path, timeline_page(_log(10, 20, 50)), width, 844)
    assert page.ask(WIDER) <= 0
    assert page.ask("$('samples').getBoundingClientRect().bottom") < 844
    assert page.ask("$('samples').scrollHeight - $('samples').clientHeight") == 0
    tops = page.ask("[...document.querySelectorAll('article')].map((each) => each.offsetTop)")
    assert (len(set(tops)) == 1) == (width > 700)
