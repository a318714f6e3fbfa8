"""What every unit held at every character, in a byte each, and the two halves of a text: one to choose on, one to score on.

Bytes are not only small. A cell that counts leaks by a billionth at every step, and ranks would take that for a difference.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from nextchar.inspection.trace import pieces
from nextchar.language_model import LanguageModel

SIGNAL = {"lstm": "c", "gru": "h", "rnn": "h"}
"""What is held against the features: what the unit remembers."""
LEVELS = 256
BLOCKS, GAP = 10, 1000

Unit = tuple[int, int]
Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Table = Callable[[Ints, Floats], Floats]  # what each level is replaced by, from how often it comes and what it means


@dataclass(frozen=True, slots=True)
class States:
    """The units of a model, over T characters.

    Attributes:
        units: Layer and unit of each of U.
        codes: In which of 256 levels each was, `(U, T)`.
        levels: What the levels stand for, `(U, 256)`, ascending.
        surprisal: -ln p of each character, `(T,)`.
    """

    units: tuple[Unit, ...]
    codes: Codes
    levels: Floats
    surprisal: npt.NDArray[np.float64]

    def values(self, rows: npt.ArrayLike, places: Ints) -> Floats:
        """Return what some units held at some characters, `(rows, places)`."""
        chosen = np.asarray(rows)
        return np.stack([self.levels[row][self.codes[row, places]] for row in chosen])

    def ranks(self, places: Ints) -> torch.Tensor:
        """Return the place of each value among its unit's own, 0 to 1, even ones in their middle, `(U, places)`."""
        return self._mapped(places, _middle_ranks)

    def standardized(self, places: Ints) -> torch.Tensor:
        """Return the values with mean 0 and variance 1 (0 for a unit that never moves), `(U, places)`."""

        def scale(counts: Ints, levels: Floats) -> Floats:
            mean = counts @ levels / counts.sum()
            deviation = np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
            return ((levels - mean) / (deviation if deviation > 0 else np.inf)).astype(np.float32)

        return self._mapped(places, scale)

    def _mapped(self, places: Ints, table: Table) -> torch.Tensor:
        result = np.empty((len(self.units), len(places)), np.float32)
        for row, codes in enumerate(self.codes):
            there = codes[places]
            result[row] = table(np.bincount(there, minlength=LEVELS), self.levels[row])[there]
        return torch.from_numpy(result)


def _middle_ranks(counts: Ints, _levels: Floats) -> Floats:
    return ((np.cumsum(counts) - counts / 2) / counts.sum()).astype(np.float32)


def quantize(values: npt.NDArray[np.floating]) -> tuple[Codes, Floats]:
    """Put rows `(U, T)` into 256 levels each, even in asinh: fine about 0, and as far out as a cell has counted."""
    bent = np.arcsinh(values.astype(np.float32))
    low = bent.min(1, keepdims=True)
    step = (bent.max(1, keepdims=True) - low) / (LEVELS - 1)
    codes = np.rint((bent - low) / np.where(step > 0, step, 1)).astype(np.uint8)
    return codes, np.sinh(low + step * np.arange(LEVELS, dtype=np.float32))


def read_states(lm: LanguageModel, ids: npt.NDArray[np.integer]) -> States:
    """Read a text, T at least 1, and keep every unit in bytes; what is held while reading takes two bytes a value."""
    shape = lm.network.architecture
    signal = SIGNAL[shape.cell]
    size = shape.layers * shape.hidden
    held, surprisal, begin = np.empty((len(ids), size), np.float16), np.empty(len(ids)), 0
    for piece in pieces(lm, ids, signals=[signal]):
        end = begin + len(piece)
        held[begin:end] = np.concatenate([layer[signal] for layer in piece.values.values()], axis=1)
        surprisal[begin:end] = piece.surprisal
        begin = end
    codes, levels = np.empty((size, len(ids)), np.uint8), np.empty((size, LEVELS), np.float32)
    for first in range(0, size, 64):
        rows = slice(first, first + 64)
        codes[rows], levels[rows] = quantize(np.ascontiguousarray(held[:, rows].T))
    units = tuple((layer, unit) for layer in range(shape.layers) for unit in range(shape.hidden))
    return States(units, codes, levels, surprisal)


@dataclass(frozen=True, slots=True)
class Split:
    """Two halves of a text, in alternating blocks with gaps between.

    Attributes:
        fit: Places to choose on, ascending.
        held: Places to score on, ascending.
        gap: Characters left out after each block.
    """

    fit: Ints
    held: Ints
    gap: int


def split(length: int, *, blocks: int = BLOCKS, gap: int = GAP) -> Split:
    """Cut a text into blocks, half of them to choose on and half to score on, and leave out the end of each."""
    edges = np.linspace(0, length, blocks + 1).astype(np.int64)
    gap = min(gap, int(length / blocks / 10))
    places = [np.arange(first, last - gap) for first, last in zip(edges[:-1], edges[1:], strict=True)]
    return Split(np.concatenate(places[::2]), np.concatenate(places[1::2]), gap)


def most_alike(states: States, rows: Iterable[int], places: Ints, count: int = 5) -> list[list[tuple[int, float]]]:
    """Return the units that go most along with each of some, or against it: row and correlation, the closest first."""
    z = states.standardized(places)
    found = []
    for row in rows:
        together = (z @ z[row] / z.shape[1]).numpy()
        order = [int(other) for other in np.argsort(-np.abs(together), kind="stable") if other != row]
        found.append([(other, float(together[other])) for other in order[:count]])
    return found
