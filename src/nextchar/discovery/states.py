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

from nextchar.architecture import Cell
from nextchar.kernels.threads import parallel_for
from nextchar.language_model import LanguageModel
from nextchar.model.cells import STEPS, Weights
from nextchar.model.compiled import Lookup, own_threads
from nextchar.model.recurrence import Recurrence, dense
from nextchar.model.state import LayerState, State, concatenate_rows, map_state, select_rows, vectors_of

LEVELS = 256
BLOCKS, GAP = 10, 1000
LANES, DEPTH = 64, 2048
CHUNK = 64
FULL = 0.999
SAME = 1e-3  # what a unit is read as may differ by
REPAIRS = 2  # of all lanes side by side

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
    """Read a text, T at least 1, and keep every unit in bytes; what is held while reading takes two bytes a value."""
    shape = lm.network.architecture
    size = shape.layers * shape.hidden
    lanes = max(1, min(LANES, len(ids) // DEPTH))
    padded = np.zeros(lanes * -(-len(ids) // lanes), np.int64)
    padded[: len(ids)] = ids
    rows = torch.from_numpy(padded.reshape(lanes, -1).T.copy()).to(lm.network.head.weight.device)
    held, surprisal = np.empty((lanes, len(rows), size), np.float16), np.empty((lanes, len(rows)))
    with torch.no_grad():
        _read(lm, rows, held, surprisal)
    every = held.reshape(-1, size)[: len(ids)]
    codes, levels = np.empty((size, len(ids)), np.uint8), np.empty((size, LEVELS), np.float32)
    for first in range(0, size, 64):
        some = slice(first, first + 64)
        codes[some], levels[some] = quantize(np.ascontiguousarray(every[:, some].T))
    units = tuple((layer, unit) for layer in range(shape.layers) for unit in range(shape.hidden))
    return States(units, codes, levels, surprisal.reshape(-1)[: len(ids)])


def _read(
    lm: LanguageModel, rows: Tensor, held: npt.NDArray[np.float16], surprisal: npt.NDArray[np.float64]
) -> None:
    """Read consecutive lanes of ids `(T, N)` by the reference, and set `held` `(N, T, U)` and `surprisal` `(N, T)`.

    Each lane begins with what the lane before it ended in when that was read from the empty state. Where that proves not to
    be what it ends in now, because something was not forgotten in a whole lane, it is read again. Of a network that never
    forgets, every time would change all lanes to come: after some times, one lane is read after the other, each once.
    """
    cell = lm.network.architecture.cell
    expected, state = _entering(lm, rows)
    ended, last = map_state(Tensor.clone, state), expected.clone()
    todo, left = torch.arange(rows.shape[1]), REPAIRS
    while len(todo):

        def read(first: int, after: int, todo: Tensor = todo) -> None:
            some = todo[first:after]
            with torch.no_grad():
                logits, now = _read_lanes(lm, rows, some, (expected, state), (held, surprisal))
            last[some] = logits
            for vector, value in vectors_of(ended, now):
                vector[some] = value

        with own_threads():
            parallel_for(read, len(todo), 1)
        off = [
            (readable(was[1:], cell) - readable(now[:-1], cell)).abs().amax(1) > SAME
            for was, now in vectors_of(state, ended)
        ]
        wrong = 1 + torch.stack(off).any(0).nonzero()[:, 0]
        todo, left = wrong if left else wrong[:1], max(0, left - 1)
        expected[todo] = last[todo - 1]
        for was, now in vectors_of(state, ended):
            was[todo] = now[todo - 1]


def _read_lanes(
    lm: LanguageModel,
    rows: Tensor,
    lanes: Tensor,
    begin: tuple[Tensor, State],
    result: tuple[npt.NDArray[np.float16], npt.NDArray[np.float64]],
) -> tuple[Tensor, State]:
    """Read some lanes from their beginning; return the logits and the state at their end."""
    (held, surprisal), cell = result, lm.network.architecture.cell
    before, now = begin[0][lanes], select_rows(begin[1], lanes)
    for first in range(0, len(rows), CHUNK):
        chunk, seen = rows[first : first + CHUNK][:, lanes], list[Tensor]()
        logits, now = lm.network(chunk, now, recurrence=watching(seen))
        chances = torch.cat([before[None], logits[:-1]]).double().log_softmax(2)
        paid = -chances.gather(2, chunk[..., None])[..., 0]
        before, memory = logits[-1], torch.cat(seen, 2).transpose(0, 1)
        surprisal[lanes, first : first + CHUNK] = paid.T.cpu().numpy()
        held[lanes, first : first + CHUNK] = readable(memory, cell).half().cpu().numpy()
    return before, now


def readable(memory: Tensor, cell: str) -> Tensor:
    """Return what the others can read a memory as: of an lstm tanh c."""
    return torch.tanh(memory) if cell == "lstm" else memory


def _entering(lm: LanguageModel, rows: Tensor) -> tuple[Tensor, State]:
    """Return what each lane of consecutive ids `(T, N)` begins with: logits `(N, V)` for its first character, and the state."""
    network, lanes = lm.network, rows.shape[1]
    start = torch.full((1, lanes), lm.vocabulary.start, device=rows.device)
    with network.threads():
        logits, first = network(start, network.empty_state(lanes))
        last, state = logits, first
        for begin in range(0, len(rows) if lanes > 1 else 0, CHUNK):
            last, state = network(rows[begin : begin + CHUNK], state)
    entering = concatenate_rows([select_rows(first, slice(1)), select_rows(state, slice(-1))])
    return torch.cat([logits[-1, :1], last[-1, :-1]]), entering


def watching(seen: list[Tensor]) -> Recurrence:
    """Return the reference recurrence, which adds each layer's memory (c, or h), `(T, N, H)`, to a list."""

    def recurrence(
        cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
    ) -> tuple[Tensor, LayerState]:
        outputs, memories = [], []
        for step in dense(x):
            state, _ = STEPS[cell](step, state, weights)
            outputs.append(state[0])
            memories.append(state[-1])
        seen.append(torch.stack(memories))
        return torch.stack(outputs), state

    return recurrence


def as_memory(values: npt.NDArray[np.floating], cell: str) -> npt.NDArray[np.float64]:
    """Return what the memory must be set to so that it reads as some values: of an lstm atanh, short of the infinite."""
    values = values.astype(np.float64)
    return np.asarray(np.arctanh(np.clip(values, -FULL, FULL)) if cell == "lstm" else values)


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


def similar_units(
    states: States, rows: Iterable[int], places: Ints, count: int = 5
) -> list[list[tuple[int, float]]]:
    """Return for each of some units the most correlated others: row and correlation, the largest |r| first."""
    z = states.standardized(places)
    found = []
    for row in rows:
        together = (z @ z[row] / z.shape[1]).numpy()
        order = [int(other) for other in np.argsort(-np.abs(together), kind="stable") if other != row]
        found.append([(other, float(together[other])) for other in order[:count]])
    return found
