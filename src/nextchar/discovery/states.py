"""The value of every unit at every character, in one byte each, and the two halves of a text: to choose on and to score on.

The value of a unit is what other units can read: tanh c of an lstm, h of gru and rnn. Cells of 8 and of 80 read the same. One
byte saves memory, and it removes differences that do not matter: a counting cell loses a billionth at every step, which would
change all ranks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.inspection.trace import MAIN
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Chunk, Reader, surprisal, to_numpy

LEVELS = 256
BLOCKS, GAP = 10, 1000
QUANTIZED = 64  # units that are quantized at a time
MAX_TANH = 0.999  # largest tanh c that a cell is set to, because 1 is that of an infinite cell

Unit = tuple[int, int]
Codes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Table = Callable[[Ints, Floats], Floats]
"""Maps the counts and values of the 256 levels of a unit to new values."""


@dataclass(frozen=True, slots=True)
class States:
    """The units of a model over T characters.

    Attributes:
        units: Layer and index of each of U units.
        codes: Level of each unit at each character, 0 to 255, `(U, T)`.
        levels: Values of the levels, `(U, 256)`, ascending.
        surprisal: -ln p of each character, `(T,)`.
    """

    units: tuple[Unit, ...]
    codes: Codes
    levels: Floats
    surprisal: npt.NDArray[np.float64]

    def name(self, row: int) -> str:
        """Return a unit as LAYER:UNIT."""
        return "{}:{}".format(*self.units[row])

    def values(self, rows: npt.ArrayLike, places: Ints) -> Floats:
        """Return the values of some units at some characters, `(rows, places)`."""
        chosen = np.asarray(rows)
        return np.stack([self.levels[row][self.codes[row, places]] for row in chosen])

    def ranks(self, places: Ints) -> Tensor:
        """Return the rank of each value among those of its unit, 0 to 1, mean ranks for ties, `(U, places)`."""
        return self._mapped(places, _middle_ranks)

    def standardized(self, places: Ints) -> Tensor:
        """Return the values with mean 0 and variance 1 (0 for a constant unit), `(U, places)`."""

        def scale(counts: Ints, levels: Floats) -> Floats:
            mean = counts @ levels / counts.sum()
            deviation = np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
            return ((levels - mean) / (deviation if deviation > 0 else np.inf)).astype(np.float32)

        return self._mapped(places, scale)

    def _mapped(self, places: Ints, table: Table) -> Tensor:
        result = np.empty((len(self.units), len(places)), np.float32)
        for row, codes in enumerate(self.codes):
            there = codes[places]
            result[row] = table(np.bincount(there, minlength=LEVELS), self.levels[row])[there]
        return torch.from_numpy(result)


def _middle_ranks(counts: Ints, _levels: Floats) -> Floats:
    return ((np.cumsum(counts) - counts / 2) / counts.sum()).astype(np.float32)


def quantize(values: npt.NDArray[np.floating]) -> tuple[Codes, Floats]:
    """Quantize rows `(U, T)` into 256 levels each, evenly spaced from minimum to maximum; return codes and levels."""
    values = values.astype(np.float32)
    low = values.min(1, keepdims=True)
    step = (values.max(1, keepdims=True) - low) / (LEVELS - 1)
    codes = np.rint((values - low) / np.where(step > 0, step, 1)).astype(np.uint8)
    return codes, low + step * np.arange(LEVELS, dtype=np.float32)


def read_states(lm: LanguageModel, ids: npt.NDArray[np.integer]) -> States:
    """Read a text of T characters, at least 1; while it is read, a value takes two bytes."""
    shape, signal = lm.network.architecture, MAIN[lm.network.architecture.cell]
    inputs = np.concatenate([[lm.vocabulary.start], ids]).astype(np.int64)
    targets = np.append(inputs[1:], 0)
    values = np.empty((len(inputs), shape.layers * shape.hidden), np.float16)
    nats = np.empty(len(inputs))

    def visit(chunk: Chunk) -> None:
        values[chunk.index] = torch.cat([layer[signal] for layer in chunk.layers], 2).half().cpu().numpy()
        nats[chunk.index] = to_numpy(surprisal(chunk.logits, targets[chunk.index]))

    Reader(lm.network, record=True).read_text(inputs, lm.network.empty_state(1), visit)
    codes = np.empty((values.shape[1], len(ids)), np.uint8)
    levels = np.empty((values.shape[1], LEVELS), np.float32)
    for first in range(0, len(codes), QUANTIZED):
        some = slice(first, first + QUANTIZED)
        codes[some], levels[some] = quantize(np.ascontiguousarray(values[1:, some].T))
    units = tuple((layer, unit) for layer in range(shape.layers) for unit in range(shape.hidden))
    return States(units, codes, levels, nats[:-1])


def as_memory(values: npt.NDArray[np.floating], cell: str) -> npt.NDArray[np.float64]:
    """Return the memories that read as some values: atanh of an lstm's values, the values themselves of gru and rnn."""
    values = values.astype(np.float64)
    return np.asarray(np.arctanh(np.clip(values, -MAX_TANH, MAX_TANH)) if cell == "lstm" else values)


@dataclass(frozen=True, slots=True)
class Split:
    """Two halves of a text, in alternating blocks with gaps between.

    Attributes:
        fit: Places to choose units on, ascending.
        held: Places to score them on, ascending.
        gap: Characters left out at the end of each block.
    """

    fit: Ints
    held: Ints
    gap: int


def split(length: int, *, blocks: int = BLOCKS, gap: int = GAP) -> Split:
    """Cut a text into blocks, alternately to choose on and to score on, and leave out the end of each."""
    edges = np.linspace(0, length, blocks + 1).astype(np.int64)
    gap = min(gap, int(length / blocks / 10))
    places = [np.arange(first, last - gap) for first, last in pairwise(edges)]
    return Split(np.concatenate(places[::2]), np.concatenate(places[1::2]), gap)


def similar_units(states: States, rows: Iterable[int], places: Ints, count: int = 5) -> list[list[tuple[int, float]]]:
    """Return for each of some units the most correlated others: row and correlation, the largest |r| first."""
    z = states.standardized(places)
    found = []
    for row in rows:
        together = (z @ z[row] / z.shape[1]).numpy()
        order = [int(other) for other in np.argsort(-np.abs(together), kind="stable") if other != row]
        found.append([(other, float(together[other])) for other in order[:count]])
    return found
