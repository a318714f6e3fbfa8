"""The page of `nextchar serve` in a browser, driven as a person would: the tabs Write and Compare."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from browser import BROWSER, Page
from nextchar.inspection.strip import diverging
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine
from nextchar.sampling.sample import sample
from serving.service import BYTES, CHARACTERS, serving

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"), pytest.mark.slow]

AREA = "document.querySelector('.editor textarea')"
TEXT = f"{AREA}.value"
WRITE = "document.querySelector('.writer button.main')"
IDLE = f"{WRITE}.textContent === 'Write'"
BUBBLE = "document.querySelector('.bubble')"
FAULT = "document.querySelector('section:not([hidden]) .fault').textContent"
TOLD = "document.querySelector('section:not([hidden]) output.soft').textContent"
BOTH = "document.querySelector('#panel-compare button.main')"
WIDER = "document.documentElement.scrollWidth - innerWidth"
FAST = "&pace=as+fast+as+it+can"
# Notes what the page asks its server for.
SPY = "globalThis.sent = []; { const ask = fetch; globalThis.fetch = (path, how) => (sent.push([path, how?.body]), ask(path, how)); }"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of a server with two models."""
    with serving() as at:
        yield at


def nats(model: LanguageModel, text: str) -> Any:
    """Return -ln p of every character of a text, or byte."""
    network = Engine(model).backend.networks[0]  # type: ignore[attr-defined]
    return network.read(model.vocabulary.encode(text))[0]


def pressed(page: Page, name: str) -> None:
    """Press the button of that name in the tab that is open."""
    buttons = (
        f"[...document.querySelectorAll('section:not([hidden]) button')].find((each) => each.textContent === {name!r})"
    )
    page.ask(f"{buttons}.click()")


def middle(page: Page, element: str) -> tuple[float, float]:
    """Return where the middle of an element is."""
    rect = "({ x, y, width, height }) => [x + width / 2, y + height / 2]"
    x, y = page.ask(f"({rect})({element}.getBoundingClientRect())")
    return x, y


def letter(page: Page, at: int) -> tuple[float, float]:
    """Return where a coloured character of the text is."""
    return middle(page, f"[...document.querySelectorAll('.mirror .cell')].find((each) => each.t === {at})")


def slide(page: Page, name: str, value: float, which: int = 0) -> None:
    """Move a slider."""
    made = f"document.querySelectorAll('section:not([hidden]) input[aria-label={name}]')[{which}]"
    page.ask(f"{made}.value = {value}; {made}.dispatchEvent(new Event('input', {{ bubbles: true }}))")


def asked(page: Page) -> list[dict[str, Any]]:
    """Return the completions that the page has asked for."""
    return [json.loads(body) for path, body in page.ask("sent") if path == "/v1/completions"]


def test_a_text_goes_on_in_place(page: Page, server: str) -> None:
    """It is that of `nextchar sample`; a reload brings back text and options from the address."""
    page.open(f"{server}/#tab=write&model=letters&text=abc&seed=3&length=60&temperature=0.8{FAST}")
    assert page.ask(TEXT) == "abc"
    page.ask(f"{WRITE}.click()")
    page.until(IDLE)
    expected = "abc" + sample(CHARACTERS, "abc", length=60, seed=3, temperature=0.8).text
    assert page.ask(TEXT) == expected
    assert "bits per character over 60 characters" in page.ask(TOLD)
    assert "a uniform guess over 9 characters is 3.17" in page.ask(TOLD)
    page.until("location.hash.length > 100")
    there = page.ask("location.hash")
    page.open(server + "/" + there)
    assert page.ask(TEXT) == expected
    page.ask(f"{AREA}.focus(); {AREA}.setSelectionRange(999, 999)")
    page.key("Enter", "Control")
    page.until(f"{IDLE} && {TEXT}.length > 70")
    assert page.ask(TEXT) == expected + sample(CHARACTERS, expected, length=60, seed=3, temperature=0.8).text


def test_another_text_replaces_what_was_written_last(page: Page, server: str) -> None:
    """It has the next seed."""
    page.open(f"{server}/#text=ab&seed=5&length=20{FAST}")
    page.ask(f"{WRITE}.click()")
    page.until(IDLE)
    pressed(page, "Another")
    page.until(IDLE)
    assert page.ask(TEXT) == "ab" + sample(CHARACTERS, "ab", length=20, seed=6).text


def test_a_slider_acts_while_the_text_is_written(page: Page, server: str) -> None:
    """The request ends, and another one goes on from the text so far with the new value; Stop ends the text."""
    page.open(f"{server}/#text=abc&length=3000&seed=1&pace=slow")
    page.ask(SPY)
    page.ask(f"{WRITE}.click()")
    page.until(f"{TEXT}.length > 8")
    slide(page, "Temperature", 0)
    page.until("sent.length === 2")
    page.until(f"{TEXT}.length > JSON.parse(sent[1][1]).prompt.length + 8")
    slide(page, "Min-p", 0.3)
    page.until("sent.length === 3")
    assert page.ask(f"{WRITE}.textContent") == "Stop"
    page.ask(f"{WRITE}.click()")
    text, (first, second, third) = page.ask(TEXT), asked(page)
    assert page.ask(f"{WRITE}.textContent") == "Write"
    assert f"over {len(text) - 3} characters" in page.ask(TOLD)
    assert (first["temperature"], second["temperature"], third["min_p"]) == (1, 0, 0.3)
    assert text.startswith(third["prompt"])
    assert third["prompt"].startswith(second["prompt"])
    assert len(second["prompt"]) + second["max_tokens"] == len("abc") + 3000
    begun, cold = second["prompt"], third["prompt"]
    assert begun == "abc" + sample(CHARACTERS, "abc", length=len(begun) - 3, seed=1).text
    assert cold == begun + sample(CHARACTERS, begun, length=len(cold) - len(begun), temperature=0, seed=1).text


def test_a_character_is_chosen_and_the_text_branches_there(page: Page, server: str) -> None:
    """A click shows the alternatives with their probabilities, a click on one goes on from there, and undo takes it back."""
    page.open(f"{server}/#text=abc&length=40&seed=2{FAST}", width=1000)
    page.ask(f"{WRITE}.click()")
    page.until(IDLE)
    whole = page.ask(TEXT)
    at = next(t for t in range(10, 40) if whole[t] != "\n")
    page.click(*letter(page, at))
    page.until(f"!{BUBBLE}.hidden")
    chances = {c: math.exp(-nats(CHARACTERS, whole[:at] + c)[-1]) for c in map(chr, CHARACTERS.vocabulary.codes)}
    best = sorted(chances, key=chances.__getitem__, reverse=True)
    shown = page.ask(f"[...{BUBBLE}.querySelectorAll('button')].map((each) => each.getAttribute('aria-label'))")
    for said, each in zip(shown, best, strict=False):
        name = {" ": "space", "\n": "line end"}.get(each, each)
        place, number = said.removesuffix(" %").split(", ")
        assert place == name
        assert "<" in number or float(number) == pytest.approx(100 * chances[each], abs=0.51)
    other = next(k for k, each in enumerate(best) if each != whole[at])
    page.click(*middle(page, f"{BUBBLE}.querySelectorAll('button')[{other}]"))
    page.until(f"{IDLE} && {TEXT}.length === {at + 41}")
    begun = whole[:at] + best[other]
    assert page.ask(TEXT) == begun + sample(CHARACTERS, begun, length=40, seed=2).text
    page.ask(f"{AREA}.focus()")
    branch = page.ask(TEXT)
    page.key("z", "Control")
    assert page.ask(TEXT) == whole
    page.key("z", "Control", "Shift")
    assert page.ask(TEXT) == branch


def test_the_keyboard_and_a_finger_choose_too(page: Page, server: str) -> None:
    """Alt-Down asks at the cursor, also in a text that was typed; a tap does not call the keyboard of a phone."""
    page.open(f"{server}/#text=abcab&length=5{FAST}", width=390)
    page.ask(f"{AREA}.focus(); {AREA}.setSelectionRange(2, 2)")
    page.key("ArrowDown", "Alt")
    page.until(f"!{BUBBLE}.hidden")
    assert "Choose another" in page.ask(f"{BUBBLE}.textContent")
    page.key("ArrowRight")
    chosen = page.ask("document.activeElement.getAttribute('aria-label')").split(",")[0]
    page.key("Enter")
    page.until(f"{IDLE} && {TEXT}.length === 8")
    assert page.ask(TEXT)[:3] == "ab" + {"space": " ", "line end": "\n"}.get(chosen, chosen)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    page.ask("document.activeElement.blur()")
    at = next(t for t, c in enumerate(page.ask(TEXT)) if t >= 3 and c != "\n")
    page.tap(*letter(page, at))
    page.until(f"!{BUBBLE}.hidden")
    assert page.ask(f"document.activeElement === {AREA}") is False
    page.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_a_text_is_scored(page: Page, server: str) -> None:
    """A pasted text is coloured by surprisal on the scale of all pages; an edit takes the colours of what follows."""
    text = "abcde\n abé☃ cd\n\nab" * 3
    page.open(f"{server}/#model=letters")
    page.ask(f"{AREA}.focus()")
    page.type(text)
    assert page.ask(TEXT) == text
    pressed(page, "Score")
    page.until("document.querySelectorAll('.mirror .cell').length > 9")
    bits = nats(CHARACTERS, text) / math.log(2)
    assert f"{bits.mean():.2f} bits per character over {len(text)} characters" in page.ask(TOLD)
    colours = page.ask(
        "[...document.querySelectorAll('.mirror .cell')].map((each) => [each.t, each.style.backgroundColor])"
    )
    assert len(colours) == sum(c != "\n" for c in text)
    for at, colour in colours:
        expected = diverging(min(1, bits[at] / 8), -1, 1)
        assert [abs(int(a) - b) <= 1 for a, b in zip(colour[4:-1].split(","), expected, strict=True)] == [True] * 3
    page.ask(f"{AREA}.setSelectionRange(7, 8)")
    page.type("e")
    assert page.ask(TEXT) == text[:7] + "e" + text[8:]
    assert page.ask("Math.max(...[...document.querySelectorAll('.mirror .cell')].map((each) => each.t))") == 6


def test_both_layers_break_lines_at_the_same_places(page: Page, server: str) -> None:
    """The text area and the coloured text below it have the same height, at any width."""
    text = ("abc de " * 30 + "\n\n" + "abcde" * 40 + "   \n") * 2
    for width in (390, 700, 1440):
        page.open(f"{server}/#model=letters&text={quote(text)}", width=width)
        heights = []
        for name in ("", "Score"):
            if name:
                pressed(page, name)
                page.until("document.querySelectorAll('.mirror .cell').length > 9")
            page.ask(f"{AREA}.style.height = '0px'")
            heights += [page.ask(f"{AREA}.scrollHeight"), page.ask("document.querySelector('.mirror').offsetHeight")]
            page.ask(f"{AREA}.style.height = ''")
        assert len({*heights}) == 1


def test_characters_that_a_model_does_not_know_are_named(page: Page, server: str) -> None:
    """They are replaced or left out on request."""
    page.open(f"{server}/#model=letters&length=5{FAST}")
    page.ask(f"{AREA}.focus()")
    page.type("abÉxyàb")
    page.ask(f"{WRITE}.click()")
    assert page.ask(FAULT).startswith("letters does not know É x y à : not in the text that it was trained on.")
    pressed(page, "Replace or leave out")
    assert page.ask(TEXT) == "abab"


def test_a_model_of_bytes_writes_whole_characters(page: Page, server: str) -> None:
    """A character has the bits of all its bytes."""
    page.open(f"{server}/#model=bytes&text=ab&length=80&seed=1{FAST}")
    page.ask(f"{WRITE}.click()")
    page.until(IDLE)
    assert page.ask(TEXT) == "ab" + sample(BYTES, "ab", length=80, seed=1).text
    page.open(f"{server}/#model=bytes&text={quote('é☃ ab')}")
    pressed(page, "Score")
    page.until("document.querySelectorAll('.mirror .cell').length === 5")
    assert f"{nats(BYTES, 'é☃ ab').sum() / math.log(2) / 5:.2f} bits per character over 5" in page.ask(TOLD)


def test_two_texts_are_compared(page: Page, server: str) -> None:
    """Both come from one prompt and one seed; what differs is marked; the address brings all of it back."""
    page.open(
        f"{server}/#tab=compare&left=letters&right=letters&prompt=abc&seed=2&length=50&temperature0=1&temperature1=0.7"
    )
    page.ask(f"{BOTH}.click()")
    page.until(f"{BOTH}.textContent === 'Write both'")
    texts = [sample(CHARACTERS, "abc", length=50, seed=2, temperature=t).text for t in (1, 0.7)]
    side = "[...document.querySelectorAll('.side .coloured')].map((each) => each.innerText.replaceAll('↵', ''))"
    assert page.ask(side) == ["abc" + text for text in texts]
    differ = [a != b for a, b in zip(*texts, strict=True)]
    assert page.ask(TOLD) == f"They part at character {differ.index(True) + 1}; of 50, {sum(differ)} differ."
    marks = "[...document.querySelectorAll('.side')].map((each) => [...each.querySelectorAll('.coloured span')].map((span) => span.style.background !== ''))"
    assert page.ask(marks) == [differ, differ]
    assert "Where they part" in page.ask("document.querySelector('.place').textContent")
    page.until("location.hash.includes('written')")
    page.open(server + "/" + page.ask("location.hash"))
    page.until(
        f"{BOTH}.textContent === 'Write both' && document.querySelectorAll('.side .coloured span').length === 100"
    )
    assert page.ask(side) == ["abc" + text for text in texts]
    slide(page, "Temperature", 1, which=1)
    page.until(f"{TOLD}.startsWith('The same')")
    page.ask("document.querySelectorAll('.side select')[1].value = 'bytes'")
    page.ask("document.querySelectorAll('.side select')[1].dispatchEvent(new Event('change'))")
    page.until(f"{FAULT} !== ''")
    assert "1 byte (in 1 place) that this model has never seen: 0x63" in page.ask(FAULT)
    page.complaints.clear()


def test_tabs_are_in_the_address(page: Page, server: str) -> None:
    """Click, keyboard and the browser's Back move between tabs; a text stays in its tab."""
    page.open(f"{server}/#tab=write&text=abc")
    page.ask("$('tab-compare').click()")
    page.until("location.hash.startsWith('#tab=compare')")
    assert page.ask("$('panel-write').hidden") is True
    page.ask("$('tab-compare').focus()")
    page.key("ArrowRight")
    page.until("location.hash.startsWith('#tab=write')")
    assert page.ask("document.activeElement.id") == "tab-write"
    assert page.ask(TEXT) == "abc"
    page.ask("history.back()")
    page.until("!$('panel-compare').hidden")


def test_a_text_is_taken_along_to_look(page: Page, server: str) -> None:
    """The button opens the tab Look with the model and the text; Back returns to the text."""
    page.open(f"{server}/#tab=write&model=letters&text=abc")
    pressed(page, "Look inside")
    page.until("document.querySelector('#tab-look').getAttribute('aria-selected') === 'true'")
    assert page.ask("document.querySelector('#panel-look .editor textarea').value") == "abc"
    page.ask("history.back()")
    page.until("document.querySelector('#tab-write').getAttribute('aria-selected') === 'true'")
    assert page.ask(TEXT) == "abc"


def test_a_key_is_asked_for_once(page: Page) -> None:
    """A wrong one is refused; it is never in the address, and a reload does not ask again."""
    with serving(api_key="secret") as at:
        page.open(f"{at}/#text=ab&length=5{FAST}".replace("/#", "/?#"), wait=False)
        dialog, given = "document.querySelector('#key')?.open", "document.querySelector('#key input')"
        for key in ("wrong", "secret"):
            page.until(dialog)
            assert page.ask("document.querySelector('main').innerText").strip() == ""
            page.ask(f"{given}.value = {key!r}; document.querySelector('#key form').requestSubmit()")
            if key == "wrong":
                page.until("document.querySelector('#key [role=alert]').textContent === 'That is not the key.'")
        page.until("document.body.dataset.ready")
        page.ask(f"{WRITE}.click()")
        page.until(f"{IDLE} && {TEXT}.length === 7")
        assert "secret" not in page.ask("location.href")
        page.call("Page.reload")
        page.until("document.body?.dataset.ready")
        assert page.ask("document.querySelector('#key').open") is False
        assert "401" in "".join(page.complaints)  # the browser says so of the two refusals
        page.complaints.clear()


# Answers the first completion as a server does whose queue is full.
BUSY = """{ const ask = fetch, told = JSON.stringify({ error: { message: "8 texts are drawn or wait, and the limit is 8" } });
let full = true;
globalThis.fetch = (path, how) => {
  if (!full || path !== "/v1/completions") return ask(path, how);
  full = false;
  return Promise.resolve(new Response(told, { status: 429, headers: { "retry-after": "1" } }));
}; }"""


def test_a_server_that_is_busy_or_gone_is_explained(page: Page) -> None:
    """A text waits for a place; when the server has ended, the page says what to do."""
    with serving() as at:
        page.open(f"{at}/#text=ab&length=20{FAST}")
        page.ask(BUSY)
        page.ask(f"{WRITE}.click()")
        page.until(f"{TOLD}.includes('This one waits')")
        page.until(f"{IDLE} && {TEXT}.length === 22")
    page.ask(f"{WRITE}.click()")
    page.until(f"{FAULT}.startsWith('The server does not answer.')")
    page.complaints.clear()  # the browser's own, of the connection


def test_without_a_model_the_page_says_what_to_do(page: Page, tmp_path: Path) -> None:
    """It opens on the tab Learn; Write and Compare lead there, and name the command, alone where nobody may train."""
    from nextchar.serving.models import Model
    from nextchar.serving.trainings import Trainings

    said = "document.querySelector('section:not([hidden])').innerText"
    with serving({}) as at:
        page.open(f"{at}/#tab=compare")
        assert page.ask(said) == "There is no model; start the server with one: nextchar serve runs/demo"
    page.requests.clear()
    with serving({}, trainings=Trainings(tmp_path / "runs", Model)) as at:
        page.open(f"{at}/")
        page.until("!document.querySelector('#panel-learn').hidden")
        page.ask("document.querySelector('#tab-write').click()")
        assert page.ask(said).endswith(" or start the server with one: nextchar serve runs/demo")
        pressed(page, "Train one")
        page.until("!document.querySelector('#panel-learn').hidden")


def test_a_model_may_appear_while_the_page_is_open(page: Page) -> None:
    """After the event "models" the page asks again, and the tab that waited for a model opens."""
    with serving({}) as at:
        page.open(f"{at}/#tab=write&text=ab")
        told = {"id": "new", "units": "characters", "characters": 2, "alphabet": "ab"}
        page.ask(f"globalThis.fetch = async () => new Response(JSON.stringify({{ data: [{json.dumps(told)}] }}))")
        page.ask("dispatchEvent(new Event('models'))")
        page.until(f"{AREA} && {TEXT} === 'ab'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_wider_than_the_window(page: Page, server: str, width: int, scheme: str) -> None:
    """Every tab fits a phone and a desk, with a text, with its alternatives, and with an error."""
    page.open(f"{server}/#text={'abcde' * 30}&length=60{FAST}", width, 844, scheme=scheme)
    page.ask(f"{WRITE}.click()")
    page.until(IDLE)
    page.ask(f"{AREA}.focus(); {AREA}.setSelectionRange(170, 170); document.querySelector('details').open = true")
    page.key("ArrowDown", "Alt")
    page.until(f"!{BUBBLE}.hidden")
    assert page.ask(WIDER) <= 0
    page.type("x" * 60)
    page.ask(f"{WRITE}.click()")
    assert page.ask(WIDER) <= 0
    background = page.ask("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
    page.open(f"{server}/#tab=compare&right=letters&prompt={'abcde' * 30}&written=yes", width, 844, scheme=scheme)
    page.until(f"{BOTH}.textContent === 'Write both'")
    assert page.ask(WIDER) <= 0
    page.ask("$('tab-look').click()")
    assert page.ask(WIDER) <= 0
