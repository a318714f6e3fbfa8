"""The coloured text: values of the equations, every character displayed literally, and a scale in the legend."""

import io
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from conftest import make_model
from inspection.handset import COLUMN, DEPTH, DISTRACTORS, LATCH, TEXT, WWW, expected_cells, golden_model
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.strip import diverging, ink, strip
from nextchar.inspection.summary import summarize
from nextchar.inspection.trace import pieces, trace
from nextchar.text.corpus import Corpus
from nextchar.text.glyphs import glyph
from nextchar.text.vocabulary import Vocabulary

HOSTILE = "</script><b>&amp;[[x]]\n\t\x00 שלום \u202eab\u0301\u200f]]>-->漢"
SVG = "{http://www.w3.org/2000/svg}"


def _cells(svg: str) -> list[tuple[int, int, str, str]]:
    """Return x, y, character and colour of every cell of a picture, line by line."""
    elements = list(ET.fromstring(svg))  # noqa: S314  our own
    found = []
    for box, letter in pairwise(elements):
        if box.tag == f"{SVG}rect" and letter.tag == f"{SVG}text" and letter.get("unicode-bidi"):
            found.append((int(box.get("y", 0)), int(box.get("x", 0)), letter.text or "", box.get("fill", "")))
    return sorted(found)


def test_planted_units_show_the_values_of_their_equations() -> None:
    """Latch, depth, column and the three w's have in every signal the values that counting gives, among 61 random units."""
    seen = trace(golden_model(), TEXT)
    expected = np.array(expected_cells(TEXT))
    cells = seen.values[0]
    np.testing.assert_allclose(cells["c"][:, : WWW + 1], expected, atol=2e-6)
    np.testing.assert_allclose(cells["tanh_c"][:, : WWW + 1], np.tanh(expected), atol=2e-6)
    np.testing.assert_allclose(cells["h"][:, : WWW + 1], np.tanh(expected), atol=2e-6)
    opens = np.array([character == "[" for character in TEXT], float)
    closes = np.array([character == "]" for character in TEXT], float)
    np.testing.assert_allclose(seen.of(0, LATCH, "i"), opens, atol=1e-8)
    np.testing.assert_allclose(seen.of(0, LATCH, "f"), 1 - closes, atol=1e-8)
    assert cells["c"].shape == (len(TEXT), 6 + DISTRACTORS)
    assert np.abs(cells["c"][:, -DISTRACTORS:]).std(0).min() > 0.05


def test_a_network_that_never_forgets_is_traced_over_many_pieces() -> None:
    """A latch that was opened thousands of characters ago is still open, and a counter is still right."""
    lm = golden_model()
    text = "[(" + "a link " * 1500
    ids = lm.vocabulary.encode(text)
    last = list(pieces(lm, ids, units={0: [LATCH, DEPTH, COLUMN]}, signals=["c"], chunk=16))[-1]
    # Float32 adds 0.01 ten thousand times.
    np.testing.assert_allclose(last.values[0]["c"][-1], [1, 0.1, 0.01 * len(text)], rtol=1e-3)


def test_the_summary_of_planted_gates_is_exact() -> None:
    """Saturation has a closed form: how often the character that opens or closes comes."""
    summary = summarize(pieces(golden_model(), golden_model().vocabulary.encode(TEXT)))[0]
    left, right = summary.saturation("f")
    share = TEXT.count("]") / len(TEXT)
    assert (left[LATCH], right[LATCH]) == pytest.approx((share, 1 - share))
    left, right = summary.saturation("i")
    assert right[LATCH] == pytest.approx(TEXT.count("[") / len(TEXT))
    assert left[LATCH] + right[LATCH] == 1
    assert summary.strongest[0, LATCH] == 0


def test_the_strip_colours_what_the_latch_holds() -> None:
    """Inside the brackets, and nowhere else, characters have the colour of tanh 1; the others are white."""
    shown = strip(golden_model(), TEXT, 0, LATCH)
    held = expected_cells(TEXT)[: TEXT.index("\n") + 1]
    on, off = (f"#{bytes(diverging(math.tanh(value), -1, 1)).hex()}" for value in (1, 0))
    cells = _cells(shown.svg(columns=1000))
    first = [cell for cell in cells if cell[0] == cells[0][0]]
    assert [colour for *_, colour in first] == [on if row[LATCH] else off for row in held]
    line = TEXT[: TEXT.index("\n") + 1]
    assert "".join(character for *_, character, _ in first) == line.replace("\n", "↵")
    assert "tanh(c) of neuron 0:0: -1 blue, 0 white, 1 orange" in shown.legend


def test_the_true_character_is_marked(text: str) -> None:
    """Below each character are the five likeliest in order, with the true one underlined."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    shown = replace(strip(lm, text[:40].replace("\n", " "), 1, 2), predictions=True)
    drawn = shown.text(40)
    lines = drawn.plain.split("\n")[shown.legend.count("\n") + 1 : -1]
    seen, signs = shown.seen, [glyph(code) for code in lm.vocabulary.codes]
    for row in range(5):
        assert lines[row + 1][1:-1] == "".join(signs[index] for index in seen.likeliest[:, row])
    assert lines[0][1:-1] == text[:40].replace("\n", " ")
    marked = sum("underline" in str(span.style) for span in drawn.spans)
    assert marked == (seen.likeliest[:-1] == seen.ids[1:, None]).sum() > 0
    assert shown.svg().count('stroke-width="2"') == marked


def test_hostile_text_is_shown_as_it_is() -> None:
    """Tags, entities, markup, control characters and scripts from the right come out one by one, in their order."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    shown = strip(lm, HOSTILE, 0, 1)
    signs = [character if character == " " else glyph(ord(character)) for character in HOSTILE]
    assert [character.strip() for *_, character, _ in _cells(shown.svg(columns=1000))] == [
        "" if sign == "→" else sign.strip() for sign in signs
    ]
    assert shown._repr_html_().count("<script") == shown._repr_html_().count("<b>") == 0
    out = io.StringIO()
    Console(file=out, width=500, force_terminal=True, color_system="truecolor").print(shown.text(500))
    Console(file=(plain := io.StringIO()), width=500).print(shown.text(500))
    lines = plain.getvalue().rstrip("\n").split("\n")[1:]
    assert len(lines) == 2
    assert {line[0] + line[-1] for line in lines} == {"\u202d\u202c"}
    assert "".join(line[1:-1] for line in lines).replace(" ", "") == "".join(signs).replace(" ", "").replace("→", "")
    assert "\x00" not in out.getvalue()
    assert "\u202e" not in out.getvalue()


def test_lines_are_those_of_the_text() -> None:
    """A line ends where it ends in the text; a long one after a space, or where it must; a tab takes four columns."""
    text = "ab cd ef\n\n\tgh\nabcdefgh ab"
    shown = strip(make_model(Corpus.from_text(text).vocabulary), text, 0, 1)
    plain = shown.text(6).plain.replace("\u202d", "").replace("\u202c", "").split("\n")[1:-1]
    assert plain == ["ab cd ", "ef↵", "↵", "    gh↵", "abcdef", "gh ab"]
    assert len({y for y, *_ in _cells(shown.svg(6))}) == 6


@pytest.mark.parametrize(
    ("character", "shown"),
    [("\x7f", "\\x7f"), ("\xa0", "\\xa0"), ("\u2028", "\\u2028"), ("\U000e0001", "\\ue0001"), ("é", "é"), ("\u0301", "◌\u0301")],
)  # fmt: skip
def test_what_cannot_be_seen_is_numbered(character: str, shown: str) -> None:
    """Every character is displayed visibly."""
    assert glyph(ord(character)) == shown


def test_a_model_of_bytes_shows_bytes() -> None:
    """A byte above ASCII is a number, not the letter of Latin-1."""
    lm = make_model(Vocabulary("bytes", tuple(range(256))))
    assert "\\xc3" in strip(lm, "é", 0, 0).text().plain


def test_the_scale_is_told_and_fits_the_signal(text: str) -> None:
    """Gates go from 0 to 1; c, which has no bounds, is as wide as it gets in the text."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    assert "f of neuron 1:3: 0 blue, 0.5 white, 1 orange" in strip(lm, "def", 1, 3, signal="f").legend
    shown = strip(lm, "def", 1, 3, signal="c")
    low, high = shown.range
    assert -low == high == pytest.approx(np.abs(shown.values).max())
    with pytest.raises(ConfigError, match="no unit 1:8"):
        strip(lm, "def", 1, 8)
    with pytest.raises(TextError):
        strip(lm, "", 1, 7)


def test_colours_can_be_read_and_told_apart() -> None:
    """Blue, white and orange differ with every colour vision, and text has a contrast of 4.5 on all of them."""

    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for value in np.linspace(-1, 1, 41):
        colour = diverging(float(value), -1, 1)
        bright, dark = sorted((luminance(colour), luminance(ink(colour))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5
    assert diverging(-2, -1, 1) == diverging(-1, -1, 1)
    assert diverging(0, 0, 0) == diverging(0, -1, 1)
    assert diverging(-1, -1, 1)[2] - diverging(1, -1, 1)[2] > 100  # the blue that every eye has


@pytest.mark.slow
def test_a_picture_is_what_its_name_says(tmp_path: Path) -> None:
    """An SVG and a PNG hold the same cells, a character that the font lacks as its number; other names are refused."""
    lm = make_model(Corpus.from_text(HOSTILE).vocabulary)
    shown = replace(strip(lm, HOSTILE, 0, 1), predictions=True)
    shown.save(tmp_path / "strip.svg", columns=20)
    assert (tmp_path / "strip.svg").read_text(encoding="utf-8") == shown.svg(20)
    shown.save(tmp_path / "strip.png", columns=20)
    pixels = imread(tmp_path / "strip.png")[:, :, :3]
    size = re.search(r'width="(\d+)" height="(\d+)"', shown.svg(20))
    assert size is not None
    assert pixels.shape[1::-1] == (2 * int(size[1]), 2 * int(size[2]))
    corners = {(y, x): colour for y, x, _, colour in _cells(shown.svg(20))}
    assert len(corners) == 6 * len(HOSTILE)
    for (y, x), colour in corners.items():
        seen = bytes((255 * pixels[2 * y + 3, 2 * x + 3]).round().astype(np.uint8))
        assert max(abs(a - b) for a, b in zip(seen, bytes.fromhex(colour[1:]), strict=True)) <= 1
    with pytest.raises(ConfigError, match=r"is 'strip.gif', but must end in .svg or .png"):
        shown.save("strip.gif")


def test_two_strips_in_a_notebook_share_nothing() -> None:
    """Each is an element of its own without script, style or id, so that none can touch another."""
    shown = strip(golden_model(), TEXT, 0, LATCH)._repr_html_()
    assert not re.search(r"<script|<style|\sid=|https?://(?!www\.w3\.org/2000/svg)", shown)
    ET.fromstring(shown)  # noqa: S314  our own
