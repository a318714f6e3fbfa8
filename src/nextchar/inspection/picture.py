"""The strip as pixels, for papers and programs that do not display SVG."""

import io
from collections.abc import Sequence
from typing import NamedTuple

FONT = "DejaVu Sans Mono"  # part of matplotlib, so a picture is the same on every machine
BASELINE = 15  # of the character of a cell, in pixels below its top


class Cell(NamedTuple):
    """One character of a picture: its upper left corner and width in pixels, text, font size, colours, and whether it is marked.

    Colours are written #rrggbb.
    """

    x: int
    y: int
    wide: int
    shown: str
    size: float
    colour: str
    ink: str
    marked: bool


def png(cells: Sequence[Cell], legend: Sequence[str], size: tuple[int, int], high: int) -> bytes:
    """Draw cells as a PNG at twice the resolution.

    Args:
        cells: The characters.
        legend: Lines above it.
        size: Width and height of the picture.
        high: Height of a cell.
    """
    from matplotlib.collections import PolyCollection  # noqa: PLC0415  takes long to import
    from matplotlib.figure import Figure  # noqa: PLC0415  as above
    from matplotlib.font_manager import findfont, get_font  # noqa: PLC0415  as above

    width, height = size
    drawn = get_font(findfont(FONT)).get_charmap()
    figure = Figure(figsize=(width / 72, height / 72), dpi=144)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    corners = [[(c.x, c.y), (c.x + c.wide, c.y), (c.x + c.wide, c.y + high), (c.x, c.y + high)] for c in cells]
    axes.add_collection(PolyCollection(corners, facecolors=[c.colour for c in cells], linewidths=0))
    marks = [[(c.x + 1, c.y + high - 2), (c.x + c.wide - 1, c.y + high - 2)] for c in cells if c.marked]
    axes.add_collection(PolyCollection(marks, closed=False, edgecolors="black", linewidths=2))
    for number, line in enumerate(legend):
        axes.text(0, 14 + 18 * number, line, fontsize=12, parse_math=False)
    for each in cells:
        known = all(ord(character) in drawn for character in each.shown)
        shown = each.shown if known else "".join(f"\\u{ord(character):04x}" for character in each.shown)
        axes.text(
            each.x + each.wide / 2,
            each.y + BASELINE,
            shown,
            fontsize=each.size if known else 18 / len(shown),
            color=each.ink,
            ha="center",
            family=FONT,
            weight="bold" if each.marked else "normal",
            parse_math=False,
        )
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=144)
    return out.getvalue()
