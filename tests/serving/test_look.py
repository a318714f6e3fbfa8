"""The tab Look of `nextchar serve` in a browser, driven as a person would."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from browser import BROWSER, Page
from conftest import make_model
from nextchar.inspection.trace import trace
from nextchar.sampling.sample import sample
from serving.service import CHARACTERS, serving

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed"), pytest.mark.slow]

AREA = "document.querySelector('#panel-look textarea')"
TEXT = f"{AREA}.value"
SLIDER = "document.querySelector('.track input')"
HELD = "document.querySelector('.track output').textContent"
BOXES = "[...document.querySelectorAll('.box')]"
LETTERS = "[...each.querySelectorAll('.coloured span')].map((span) => span.textContent)"
NAMES = "[...document.querySelectorAll('#panel-look .neuron b')].map((each) => each.textContent)"
COLOURS = "[...document.querySelectorAll('.mirror .cell')].map((each) => each.style.backgroundColor)"
ALL = f"{TEXT}.length && {COLOURS}.length === {TEXT}.replaceAll('\\n', '').length"
FAULT = "document.querySelector('#panel-look .fault').textContent"
BUTTON = "[...document.querySelectorAll('#panel-look button')].find((each) => each.textContent === {!r})"
WIDER = "document.documentElement.scrollWidth - innerWidth"
SCALE = {
    "light": {"low": (33, 102, 172), "middle": (247, 247, 247), "high": (224, 130, 20)},
    "dark": {"low": (70, 150, 230), "middle": (38, 41, 46), "high": (240, 150, 40)},
}
PROMPT = "abé ba☃ cd"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the address of a server with two models."""
    with serving() as at:
        yield at


def opened(page: Page, address: str, state: str = "", width: int = 1440, scheme: str = "light") -> None:
    """Open the tab, and wait until there are neurons and colours."""
    page.open(f"{address}/#tab=look{state}", width, scheme=scheme)
    page.until(f"{NAMES}.length")
    page.until(ALL)


def typed(page: Page, text: str) -> None:
    """Replace the text by another one, and wait until it is coloured."""
    page.ask(f"{AREA}.focus(); {AREA}.select()")
    page.type(text)
    page.until(ALL)


def hold(page: Page, value: float) -> None:
    """Move the slider, and wait until both texts are complete."""
    page.ask(f"{SLIDER}.value = {value}; {SLIDER}.dispatchEvent(new Event('input'))")
    page.until(f"{HELD} !== 'free' && {BOXES}.every((each) => each.querySelectorAll('.coloured span').length === 80)")


def texts(page: Page) -> list[str]:
    """Return the text without and with the neuron held."""
    shown: list[list[str]] = page.ask(f"{BOXES}.map((each) => {LETTERS})")
    return ["".join(letters).replace("↵", "\n") for letters in shown]


def test_a_model_that_was_replaced_is_searched_again(page: Page) -> None:
    """A text that is shown gets the values of the model that has the name now."""
    values = "document.querySelector('.track').textContent"
    with serving({"book": CHARACTERS}) as address:
        opened(page, address)
        typed(page, PROMPT[:8])
        before, lowest = page.ask(COLOURS), page.ask(values)
        page.ask("document.querySelector('#tab-write').click()")
    with serving({"book": make_model(CHARACTERS.vocabulary, 7)}, port=int(address.rpartition(":")[2])):
        page.ask("document.querySelector('#tab-look').click()")
        page.until(f"{values} !== {lowest!r} && {ALL}")
        assert page.ask(TEXT) == PROMPT[:8]
        assert page.ask(COLOURS) != before


def colour(value: float, scheme: str) -> str:
    """Return the colour of a value from -1 to 1, from the scale of all pages."""
    middle, end = (SCALE[scheme][name] for name in ("middle", "high" if value > 0 else "low"))
    return f"rgb({', '.join(str(round(a + (b - a) * abs(value))) for a, b in zip(middle, end, strict=True))})"


def colours_of(text: str, layer: int, unit: int) -> list[str]:
    """Return the colours of all characters but line ends."""
    values = trace(CHARACTERS, text, units={layer: [unit]}).of(layer, unit)
    return [colour(float(value), "light") for value, letter in zip(values, text, strict=True) if letter != "\n"]


def alike(one: list[str], other: list[str]) -> bool:
    """Return whether colours are equal but for rounding."""
    numbers = [[list(map(int, re.findall(r"\d+", colour))) for colour in colours] for colours in (one, other)]
    pairs: Any = zip(*numbers, strict=True)
    return all(abs(a - b) <= 1 for colours in pairs for a, b in zip(*colours, strict=True))


def test_a_first_look_needs_no_input(page: Page, server: str) -> None:
    """There are neurons, the first one is chosen, and a text has its colours; another one is a click away."""
    opened(page, server)
    first, second = page.ask(NAMES)[:2]
    text = page.ask(TEXT)
    assert len(text) > 200
    for name in (first, second):
        page.ask(
            f"[...document.querySelectorAll('.neuron')].find((each) => each.textContent.includes({name!r})).click()"
        )
        page.until(f"document.querySelectorAll('#panel-look h2')[1].textContent.startsWith({name!r})")
        assert alike(page.ask(COLOURS), colours_of(text, *map(int, name.split(":"))))
    page.until(f"location.hash.includes('unit={second}')")
    assert "text=" not in page.ask("location.hash")  # the example needs no address


def test_a_text_is_coloured_while_it_is_typed_and_written(page: Page, server: str) -> None:
    """What is typed gets the colours of any neuron; what is written on is the text of `sample`, coloured as it comes."""
    opened(page, server, "&model=letters")
    typed(page, PROMPT)
    page.ask(
        "(any => { any.value = '1:5'; any.dispatchEvent(new Event('change')); })(document.querySelector('.field input'))"
    )
    page.until("document.querySelectorAll('#panel-look h2')[1].textContent.startsWith('1:5')")
    page.until(f"{COLOURS}.length === {len(PROMPT)}")
    assert alike(page.ask(COLOURS), colours_of(PROMPT, 1, 5))
    page.ask(f"{AREA}.setSelectionRange(2, 2)")
    page.type("e")
    changed = f"{PROMPT[:2]}e{PROMPT[2:]}"
    page.until(f"{COLOURS}.length === {len(changed)}")
    assert alike(page.ask(COLOURS), colours_of(changed, 1, 5))
    page.ask(BUTTON.format("Write on") + ".click()")
    page.until(BUTTON.format("Stop"))
    page.until(BUTTON.format("Write on"))
    whole = changed + sample(CHARACTERS, changed, length=300, seed=1).text
    assert page.ask(TEXT) == whole
    assert alike(page.ask(COLOURS), colours_of(whole, 1, 5))
    page.ask(BUTTON.format("Another") + ".click()")
    page.until(BUTTON.format("Stop"))
    page.until(BUTTON.format("Write on"))
    assert page.ask(TEXT) == changed + sample(CHARACTERS, changed, length=300, seed=2).text


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_neuron_is_held_beside_the_free_text(page: Page, server: str, width: int, scheme: str) -> None:
    """Both texts are shown, with the colour of the value; the address holds all of it, and a free neuron hides them."""
    opened(page, server, "&model=letters&unit=0:3&length=80&seed=4&text=abc", width, scheme)
    low, high = (float(page.ask(f"{SLIDER}.{end}")) for end in ("min", "max"))
    assert -1 <= low < high <= 1
    hold(page, high)
    free, held = texts(page)
    assert free == sample(CHARACTERS, "abc", length=80, seed=4).text
    assert held != free
    shades = page.ask(
        f"{BOXES}.map((each) => [...new Set([...each.querySelectorAll('.coloured span')].map((s) => s.style.backgroundColor))])"
    )
    assert len(shades[0]) > 3
    assert alike(shades[1], [colour(high, scheme)])
    hold(page, low)
    page.until(f"{BOXES}[1].textContent.includes('held at')")
    page.until(f"!({BOXES}.map((each) => {LETTERS}.join(''))[1] === {held.replace(chr(10), '↵')!r})")
    page.until(f"{BOXES}.every((each) => each.querySelectorAll('.coloured span').length === 80)")
    assert texts(page)[0] == free
    page.until(f"location.hash.includes('hold={page.ask(f'{SLIDER}.value')}')")
    address, both = page.ask("location.href"), texts(page)
    assert page.ask(WIDER) <= 0
    page.open(address, width, scheme=scheme)
    page.until(f"{BOXES}.every((each) => each.querySelectorAll('.coloured span').length === 80)")
    assert texts(page) == both
    page.ask(BUTTON.format("Let it free") + ".click()")
    assert page.ask(f"{BOXES}.every((each) => each.hidden)")
    assert page.ask(HELD) == "free"


def test_mistakes_are_told_in_a_sentence(page: Page, server: str) -> None:
    """A neuron that is not there, and a character that the model does not know."""
    opened(page, server, "&model=letters")
    page.ask(
        "(any => { any.value = '5:1'; any.dispatchEvent(new Event('change')); })(document.querySelector('.field input'))"
    )
    page.until(f"{FAULT}.startsWith('There is no neuron 5:1: the first number is a layer, 0 to 1')")
    page.ask(f"{AREA}.focus(); {AREA}.select()")
    page.type("abXc")
    page.until(f"{FAULT}.startsWith('letters does not know X')")
    page.ask("document.querySelector('#panel-look .fault button').click()")
    page.until(f"{TEXT} === 'abc' && {COLOURS}.length === 3")
    assert page.ask(FAULT) == ""
    page.open(f"{server}/#tab=look&model=bytes&unit=0:1&text=%C3%A9%E2%98%83a")
    page.until(f"{COLOURS}.length === 3")


def test_the_value_under_the_pointer_is_told(page: Page, server: str) -> None:
    """It follows the pointer over the text."""
    opened(page, server, "&model=letters&unit=0:3&text=abc")
    x, y = page.ask(
        "(({ x, y, width, height }) => [x + width / 2, y + height / 2])(document.querySelectorAll('.mirror .cell')[1].getBoundingClientRect())"
    )
    page.point(x, y)
    value = float(trace(CHARACTERS, "abc", units={0: [3]}).of(0, 3)[1])
    said = f"After “b”: {value:.2f}".replace("-", "\N{MINUS SIGN}")
    page.until(f"document.querySelector('#panel-look .value').textContent === {said!r}")


def test_texts_come_with_a_coarse_clock(page: Page, server: str) -> None:
    """Some browsers have a clock with steps of 100 ms, which does not move between two pictures of the screen."""
    opened(page, server, "&model=letters&unit=0:3&length=80&seed=4&text=abc")
    page.ask(
        "{ const now = performance.now.bind(performance); performance.now = () => 100 * Math.floor(now() / 100); }"
    )
    hold(page, 0)
    assert texts(page)[0] == sample(CHARACTERS, "abc", length=80, seed=4).text
