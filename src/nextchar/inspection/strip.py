"""The strip: a text coloured by one unit, and below each character the likeliest next ones, shaded by probability.

Every character is placed in a cell of its own, from left to right, so that a text cannot change how it is displayed: neither
by tags, nor by markup, control characters or the direction of its script.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from rich.text import Text

from nextchar.errors import ConfigError
from nextchar.inspection.picture import BASELINE, Cell, png
from nextchar.inspection.trace import MAIN, Floats, Given, Trace, trace
from nextchar.notebook import escape
from nextchar.storage import ModelSource, to_language_model, write_atomically
from nextchar.text.glyphs import glyphs, visible_blank

Colour = tuple[int, int, int]

RANGES = dict.fromkeys("ifozr", (0.0, 1.0)) | dict.fromkeys(("g", "n", "h", "tanh_c"), (-1.0, 1.0))
"""The bounds of each signal; c has none."""
# Distinguishable with every kind of colour vision.
BLUE, WHITE, ORANGE = (33, 102, 172), (247, 247, 247), (224, 130, 20)
GREEN = (0, 136, 122)
FROM_LEFT, FROM_LEFT_END = "\u202d", "\u202c"  # text between these is displayed from left to right
SVG = 'role="img" font-family="ui-monospace,Menlo,Consolas,monospace" text-anchor="middle" direction="ltr"'
COLUMN, LINE, LEGEND = 9, 20, 18  # of a picture, in pixels; the last is the height of a line above the text
COLUMNS = 80
TAB = 4  # columns of a tab
PICTURES = (".svg", ".png")


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two, `share` of the way to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def diverging(value: float, low: float, high: float) -> Colour:
    """Return the colour of a value: blue at the low end of the range, white in its middle, orange at the high end."""
    place = min(max(2 * (value - low) / (high - low) - 1, -1), 1) if high > low else 0.0
    return mix(WHITE, ORANGE if place > 0 else BLUE, abs(place))


def ink(colour: Colour) -> Colour:
    """Return black or white, whichever has more contrast to a colour (relative luminance of WCAG 2)."""
    linear = [(c / 3294.6) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    bright = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18
    return (0, 0, 0) if bright else (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Strip:
    """A text coloured by one unit; a notebook displays it.

    Attributes:
        seen: The trace that contains the unit.
        layer: Counted from 0.
        unit: Counted from 0.
        signal: Which of the cell's.
        about: A sentence about the unit.
        predictions: Whether the likeliest next characters are shown below each character.
    """

    seen: Trace
    layer: int
    unit: int
    signal: str
    about: str = ""
    predictions: bool = False

    def __repr__(self) -> str:
        return f"<Strip {self.signal} of {self.layer}:{self.unit}, {len(self.seen):,} characters>"

    @property
    def values(self) -> Floats:
        """The values that colour the characters, `(T,)`."""
        return self.seen.of(self.layer, self.unit, self.signal)

    @property
    def range(self) -> tuple[float, float]:
        """The values at the ends of the scale: the bounds of the signal; for c, the largest |c| in the text."""
        largest = float(np.abs(self.values).max())
        return RANGES.get(self.signal, (-largest, largest))

    @property
    def legend(self) -> str:
        """What is known about the unit, the signal and its scale, and the characters below: a line each."""
        low, high = self.range
        name = "tanh(c)" if self.signal == "tanh_c" else self.signal
        scale = f"{name} of neuron {self.layer}:{self.unit}: {low:.4g} blue, {(low + high) / 2:.4g} white, {high:.4g} orange"
        lines = [
            self.about,
            f"{scale}; in this text {self.values.min():.2f} to {self.values.max():.2f}",
            "Below: the likeliest next characters, darker if likelier, the true one underlined" * self.predictions,
        ]
        return "\n".join(filter(None, lines))

    def text(self, width: int = 80) -> Text:
        """Return the strip for a terminal of `width` columns, as `Text`, which is not parsed as markup."""
        shown, colours = self._glyphs(), self._colours()
        lengths = np.array([cell_len(visible_blank(each)) for each in shown])
        result = Text(self.legend + "\n", end="")
        for begin, end in self._lines(width):
            for row in range(-1, self._rows):
                result.append(FROM_LEFT)
                for t in range(begin, end):
                    index, colour, true = self._cell(t, row, colours)
                    style = f"{'bold underline ' if true else ''}{_hex(ink(colour))} on {_hex(colour)}"
                    result.append(self._shown(shown, index, row) + " " * int(self._widths[t] - lengths[index]), style)
                result.append(FROM_LEFT_END + "\n")
        return result

    def svg(self, columns: int = COLUMNS) -> str:
        """Return the strip as a self-contained picture with `columns` characters a line."""
        width, height = self._size(columns)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {SVG} width="{width}" height="{height}">',
            f"<title>{escape(self.legend)}</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
        ]
        for number, line in enumerate(self.legend.split("\n")):
            y = 14 + LEGEND * number
            parts.append(f'<text x="0" y="{y}" font-size="12" fill="#000" text-anchor="start">{escape(line)}</text>')
        return "".join([*parts, *map(_svg_cell, self._cells(columns)), "</svg>"])

    def png(self, columns: int = COLUMNS) -> bytes:
        """Return the strip as pixels with `columns` characters a line; characters not in the font are shown by number."""
        return png(list(self._cells(columns)), self.legend.split("\n"), self._size(columns), LINE)

    def save(self, path: Path | str, columns: int = COLUMNS) -> None:
        """Write an SVG or a PNG picture, by the ending of the name.

        Raises:
            ConfigError: The name ends neither in .svg nor in .png.
        """
        place = Path(path)
        if place.suffix not in PICTURES:
            raise ConfigError(f"the name of a picture is '{place}', but must end in {' or '.join(PICTURES)}")
        whole = self.svg(columns).encode() if place.suffix == ".svg" else self.png(columns)
        write_atomically(place, lambda temporary: temporary.write_bytes(whole))

    def _size(self, columns: int) -> tuple[int, int]:
        """Return width and height of a picture; the legend must fit above the shortest text."""
        lines = self._lines(columns)
        widest = max(int(self._widths[begin:end].sum()) for begin, end in lines)
        return max(widest * COLUMN, 640), len(lines) * self._block + self._top

    @property
    def _rows(self) -> int:
        """The number of predictions below a character."""
        return self.seen.likeliest.shape[1] if self.predictions else 0

    @property
    def _top(self) -> int:
        return LEGEND * (1 + self.legend.count("\n")) + 6

    @property
    def _block(self) -> int:
        """The height of a line of text with the predictions beneath it."""
        return (1 + self._rows) * LINE + (8 if self._rows else 0)

    @property
    def _widths(self) -> npt.NDArray[np.int64]:
        """The columns that each character takes, `(T,)`: 1 or more, 4 for a tab."""
        lengths = np.array([cell_len(visible_blank(each)) for each in self._glyphs()])
        tabs = np.array([each == "\t" for each in self._glyphs()])
        widths = np.where(tabs, TAB, lengths)[self.seen.ids]
        return np.maximum(widths, lengths[self.seen.likeliest].max(1)) if self._rows else widths

    def _lines(self, width: int) -> list[tuple[int, int]]:
        """Return begin and end of each line: where the text has them, or after a space, at `width` columns at most."""
        shown, widths, lines = self._glyphs(), self._widths, list[tuple[int, int]]()
        begin = used = space = 0
        for t, index in enumerate(self.seen.ids.tolist()):
            used += int(widths[t])
            if used > width and t > begin and shown[index] != "\n":
                end = space if space > begin else t
                lines.append((begin, end))
                begin, used = end, int(widths[end : t + 1].sum())
            if shown[index] in " \t":
                space = t + 1
            if shown[index] == "\n":
                lines.append((begin, t + 1))
                begin, used = t + 1, 0
        return [*lines, (begin, len(self.seen))] if begin < len(self.seen) else lines

    def _glyphs(self) -> list[str]:
        return glyphs(self.seen.vocabulary, blanks=True)

    @staticmethod
    def _shown(shown: list[str], index: int, row: int) -> str:
        """Return what stands for a character: a space is itself in the text, and a symbol among the predictions."""
        return " " if row < 0 and shown[index] in " \t" else visible_blank(shown[index])

    def _cells(self, columns: int) -> Iterator[Cell]:
        """Yield the cells of a picture."""
        shown, colours, widths = self._glyphs(), self._colours(), self._widths
        for number, (begin, end) in enumerate(self._lines(columns)):
            x = 0
            for t in range(begin, end):
                for row in range(-1, self._rows):
                    index, colour, true = self._cell(t, row, colours)
                    letter = self._shown(shown, index, row)
                    size = 14 if len(letter) < 3 else 18 / len(letter)
                    y = number * self._block + self._top + (row + 1) * LINE
                    yield Cell(x, y, int(widths[t]) * COLUMN, letter, size, _hex(colour), _hex(ink(colour)), true)
                x += int(widths[t]) * COLUMN

    def _colours(self) -> list[Colour]:
        low, high = self.range
        return [diverging(value, low, high) for value in self.values.tolist()]

    def _cell(self, t: int, row: int, colours: list[Colour]) -> tuple[int, Colour, bool]:
        """Return id, colour and whether it is the true next one: of character t in row -1, else of a likely next one."""
        if row < 0:
            return int(self.seen.ids[t]), colours[t], False
        index = int(self.seen.likeliest[t, row])
        true = t + 1 < len(self.seen) and index == self.seen.ids[t + 1]
        return index, mix(WHITE, GREEN, float(self.seen.probabilities[t, row])), bool(true)

    def _repr_html_(self) -> str:
        return f'<div style="overflow:auto">{self.svg()}</div>'


def _hex(colour: Colour) -> str:
    return f"#{bytes(colour).hex()}"


def _svg_cell(cell: Cell) -> str:
    x, y, wide, shown, size, colour, letter, marked = cell
    weight = ' font-weight="700"' if marked else ""
    line = f'<path d="M{x + 1} {y + LINE - 2}h{wide - 2}" stroke="#000" stroke-width="2"/>' if marked else ""
    return (
        f'<rect x="{x}" y="{y}" width="{wide}" height="{LINE}" fill="{colour}"/>'
        f'<text x="{x + wide / 2:g}" y="{y + BASELINE}" font-size="{size:.3g}" fill="{letter}" '
        f'unicode-bidi="bidi-override"{weight}>{escape(shown)}</text>{line}'
    )


def strip(model: ModelSource, text: Given, layer: int, unit: int, *, signal: str | None = None) -> Strip:
    """Colour a text by one unit.

    Args:
        model: A model, its file or its path.
        text: At least one character that the model knows, or ids `(T,)`.
        layer: Counted from 0.
        unit: Counted from 0.
        signal: i, f, g, o, c, tanh_c or h of an lstm; r, z, n or h of a gru; h of an rnn. By default tanh_c, or h.

    Raises:
        ConfigError: A layer, unit or signal that the model does not have.
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: There is no text.
    """
    lm = to_language_model(model)
    signal = signal or MAIN[lm.network.architecture.cell]
    return Strip(trace(lm, text, units={layer: [unit]}, signals=[signal]), layer, unit, signal)
