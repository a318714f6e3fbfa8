"""A trace: the value of every gate, cell and unit at every character, and the predictions, by the reference recurrence.

Row t is the state after character t was read, so the likeliest next characters in row t are the prediction of
character t + 1. The first character is predicted from START, as in scoring.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save as save_arrays
from torch import Tensor

from nextchar.architecture import Architecture
from nextchar.errors import ConfigError, TextError, as_integer, check_is, did_you_mean
from nextchar.language_model import LanguageModel
from nextchar.model.reading import RECORD_ROWS, Chunk, Ids, Reader, log_probabilities
from nextchar.model.state import select_rows
from nextchar.storage import ModelSource, to_language_model, write_atomically
from nextchar.text.vocabulary import Unknown, Vocabulary

SIGNALS: dict[str, tuple[str, ...]] = {
    "lstm": ("i", "f", "g", "o", "c", "tanh_c", "h"),
    "gru": ("r", "z", "n", "h"),
    "rnn": ("h",),
}
"""What a trace has of each cell."""
GATES: dict[str, tuple[str, ...]] = {"lstm": ("i", "f", "o"), "gru": ("r", "z"), "rnn": ()}
"""The signals that are gates, between 0 and 1."""
MAIN = {"lstm": "tanh_c", "gru": "h", "rnn": "h"}
"""The signal that is shown by default: the value of the unit, between -1 and 1."""

LIKELIEST = 5
SHOWN = 30_000  # characters that are read unless a number is given, and at most shown
CHUNK = 128  # characters that one row of a batch reads at a time
ROWS = RECORD_ROWS  # chunks of a piece; the memory of a piece is proportional to both
STRETCH = 16 * ROWS  # chunks whose states are found together, in parallel
TIE = 1e-12  # logits that differ by less are equal, and the smaller id comes first

PER_CHARACTER = ("surprisal", "entropy", "rank", "likeliest", "probabilities")

Floats = npt.NDArray[np.floating[Any]]
Given = str | bytes | npt.NDArray[Any]  # the last are ids, `(T,)`
OnProgress = Callable[[str, int, int], object]  # what is done, how much of it, and how much there is
Units = Mapping[int, Sequence[int]]
Values = dict[int, dict[str, Floats]]


def ignore(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A text of T characters as a network read it, with U units of each layer.

    Attributes:
        vocabulary: What the ids stand for.
        cell: lstm, gru or rnn.
        ids: The text, `(T,)`.
        units: Which units of each layer.
        values: By layer and signal: its values after each character, `(T, U)`.
        surprisal: -ln p of the character before it was read, in nats, `(T,)`.
        entropy: Of that same prediction, in nats, `(T,)`.
        rank: The character's rank in that same prediction, 1 is the likeliest, `(T,)`.
        likeliest: The ids of the 5 likeliest next characters (V, if that is less), `(T, 5)`; the smaller id first
            if two are equal.
        probabilities: Their probabilities, `(T, 5)`.
    """

    vocabulary: Vocabulary
    cell: str
    ids: npt.NDArray[Any]
    units: dict[int, tuple[int, ...]]
    values: dict[int, dict[str, Floats]]
    surprisal: Floats
    entropy: Floats
    rank: npt.NDArray[np.int64]
    likeliest: npt.NDArray[np.int64]
    probabilities: Floats

    def __repr__(self) -> str:
        units = sum(map(len, self.units.values()))
        return (
            f"<Trace of {len(self):,} characters, {units:,} units, {', '.join(next(iter(self.values.values()), ()))}>"
        )

    def __len__(self) -> int:
        """Return T."""
        return len(self.ids)

    def of(self, layer: int, unit: int, signal: str | None = None) -> Floats:
        """Return a signal of one unit, `(T,)`; by default tanh c of an lstm, h of the others."""
        signal = signal or MAIN[self.cell]
        if unit not in self.units.get(layer, ()) or signal not in self.values[layer]:
            raise ConfigError(f"{signal} of unit {layer}:{unit} is not in this trace")
        return self.values[layer][signal][:, self.units[layer].index(unit)]

    def part(self, begin: int, end: int) -> "Trace":
        """Return the trace of the characters from `begin` up to `end`."""
        values = {
            layer: {name: rows[begin:end] for name, rows in signals.items()} for layer, signals in self.values.items()
        }
        columns: dict[str, Any] = {name: getattr(self, name)[begin:end] for name in ("ids", *PER_CHARACTER)}
        return replace(self, values=values, **columns)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return `ids`, `codes`, `surprisal` ..., `layers.0.units` `(U,)`, `layers.0.tanh_c` `(T, U)` ...."""
        arrays = {name: getattr(self, name) for name in ("ids", *PER_CHARACTER)}
        arrays["codes"] = np.array(self.vocabulary.codes)
        for layer, signals in self.values.items():
            arrays[f"layers.{layer}.units"] = np.array(self.units[layer])
            arrays |= {f"layers.{layer}.{signal}": values for signal, values in signals.items()}
        return arrays

    def save(self, path: Path | str) -> None:
        """Write `arrays` as safetensors if the name ends so, else as npz."""

        def write(temporary: Path) -> None:
            if Path(path).suffix == ".safetensors":
                whole = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
                temporary.write_bytes(save_arrays(whole, {"cell": self.cell, "units": self.vocabulary.units}))
                return
            with temporary.open("wb") as file:  # numpy would add a suffix to a name
                np.savez_compressed(file, allow_pickle=False, **self.arrays())

        write_atomically(Path(path), write)


def open_both(model: ModelSource, text: Given, *, unknown: Unknown = "error") -> tuple[LanguageModel, Ids]:
    """Return a model, whatever it is given as, and the ids of a text, `(T,)` int64."""
    lm = to_language_model(model)
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text, unknown=unknown)
    return lm, np.asarray(ids, np.int64)


def trace(
    model: ModelSource,
    text: Given,
    *,
    units: Units | None = None,
    signals: Sequence[str] | None = None,
    unknown: Unknown = "error",
) -> Trace:
    """Read a text and keep what is asked for; memory is proportional to what is kept.

    Args:
        model: A model, its file or its path.
        text: At least one character that the model knows, or ids `(T,)`.
        units: Which units of which layers, such as `{0: [3, 17], 1: range(64)}`; all of them by default.
        signals: Which of `SIGNALS`; all by default.
        unknown: "error", or "skip" to leave out characters that are not in the vocabulary.

    Raises:
        ConfigError: A layer, unit or signal that the model does not have.
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: No character is left to read.
    """
    lm, ids = open_both(model, text, unknown=unknown)
    return join(list(pieces(lm, ids, units=units, signals=signals)))


def join(parts: Sequence[Trace]) -> Trace:
    """Concatenate the consecutive pieces of a trace."""
    values = {
        layer: {signal: np.concatenate([part.values[layer][signal] for part in parts]) for signal in kept}
        for layer, kept in parts[0].values.items()
    }
    whole: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", *PER_CHARACTER)
    }
    return replace(parts[0], values=values, **whole)


def pieces(
    lm: LanguageModel, ids: Ids, *, units: Units | None = None, signals: Sequence[str] | None = None, chunk: int = CHUNK
) -> Iterator[Trace]:
    """Trace ids `(T,)` in pieces of `chunk` x 64 characters, in memory that does not grow with the text.

    Raises:
        ConfigError: A layer, unit or signal that the model does not have.
        TextError: There are no ids.
    """
    shape, network = lm.network.architecture, lm.network
    chosen, wanted = choose(shape, units), choose_signals(shape.cell, signals)
    if not len(ids):
        raise TextError("there is no character to inspect")
    reader = Reader(network, chunk, record=True)
    state, last = network.empty_state(1), torch.empty(1, network.vocabulary_size)

    def keep(seen: Chunk) -> None:
        last[:] = seen.logits[-1].cpu()

    state = Reader(network).read(np.array([[lm.vocabulary.start]]), state, keep)
    for begin in range(0, len(ids), chunk * ROWS):
        if begin % (chunk * STRETCH) == 0:
            states, state = reader.states(np.asarray(ids[begin : begin + chunk * STRETCH], np.int64), state)
        first = begin % (chunk * STRETCH) // chunk
        block = np.asarray(ids[begin : begin + chunk * ROWS], np.int64)
        logits = torch.empty(len(block), network.vocabulary_size)
        values = {
            layer: {name: np.empty((len(block), len(kept)), np.float32) for name in wanted}
            for layer, kept in chosen.items()
        }

        def visit(seen: Chunk, logits: Tensor = logits, values: Values = values) -> None:
            logits[torch.from_numpy(seen.index)] = seen.logits.cpu()
            for layer, arrays in values.items():
                for name, array in arrays.items():
                    array[seen.index] = _take(seen.layers[layer][name], chosen[layer], shape.hidden)

        reader.record_chunks(block, select_rows(states, slice(first, first + ROWS)), visit)
        before, last = torch.cat([last, logits[:-1]]), logits[-1:].clone()
        yield Trace(lm.vocabulary, shape.cell, block, chosen, values, **_predictions(before, logits, block))


def choose(shape: Architecture, units: Units | None) -> dict[int, tuple[int, ...]]:
    """Check units by layer, and return them with layers in ascending order; all if none are given."""
    if units is None:
        units = {layer: range(shape.hidden) for layer in range(shape.layers)}
    check_is("units", units, Mapping)
    units = {layer: [kept] if isinstance(kept, int) else kept for layer, kept in units.items()}
    for layer, kept in units.items():
        if not 0 <= as_integer("a layer", layer, "counted from 0", -math.inf) < shape.layers:
            raise ConfigError(f"there is no layer {layer}; the model's layers are 0 to {shape.layers - 1}")
        for unit in kept:
            if not 0 <= as_integer("a unit", unit, "counted from 0", -math.inf) < shape.hidden:
                raise ConfigError(f"there is no unit {layer}:{unit}; a layer's are 0 to {shape.hidden - 1}")
    return {layer: tuple(units[layer]) for layer in sorted(units)}


def choose_signals(cell: str, signals: Sequence[str] | None) -> tuple[str, ...]:
    """Check signals, and return them; all that the cell has if none are given."""
    signals = [signals] if isinstance(signals, str) else signals
    for name in signals or ():
        if name not in SIGNALS[cell]:
            raise ConfigError(f"{cell} has no signal '{name}'{did_you_mean(name, SIGNALS[cell])}")
    return SIGNALS[cell] if signals is None else tuple(signals)


def _take(values: Tensor, kept: tuple[int, ...], hidden: int) -> Floats:
    """Return the columns of some units of `(T, B, H)`."""
    return (values if kept == tuple(range(hidden)) else values[..., list(kept)]).cpu().numpy()


def _predictions(before: Tensor, after: Tensor, ids: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return what the logits before and after each character `(T, V)` say, by the names of `PER_CHARACTER`."""
    target = torch.from_numpy(ids)[:, None]
    log_p = log_probabilities(before)
    order = TIE * torch.arange(log_p.shape[1])
    ranked = before.double() - order
    rank = 1 + (ranked > ranked.gather(1, target)).sum(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    likeliest = (after.double() - order).topk(min(LIKELIEST, after.shape[1]), dim=1).indices
    probabilities = log_probabilities(after).gather(1, likeliest).exp()
    columns = (-log_p.gather(1, target)[:, 0], entropy, rank, likeliest, probabilities)
    return {name: column.numpy() for name, column in zip(PER_CHARACTER, columns, strict=True)}
