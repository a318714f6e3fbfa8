"""A trace: what every gate, cell and unit was at every character, and what was predicted, by the reference recurrence.

Row t of a state is after character t was read, so the likeliest next characters in row t are what was expected of
character t + 1. The first character is predicted from START, as in scoring.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save as save_arrays
from torch import Tensor

from nextchar.architecture import Architecture, Cell
from nextchar.errors import ConfigError, TextError, did_you_mean
from nextchar.language_model import LanguageModel
from nextchar.model.cells import Weights
from nextchar.model.compiled import Lookup
from nextchar.model.network import Network
from nextchar.model.recurrence import Recurrence, with_gates
from nextchar.model.state import LayerState, State, concatenate_rows, select_rows
from nextchar.storage import write_atomically
from nextchar.text.vocabulary import Unknown, Vocabulary

SIGNALS: dict[str, tuple[str, ...]] = {
    "lstm": ("i", "f", "g", "o", "c", "tanh_c", "h"),
    "gru": ("r", "z", "n", "h"),
    "rnn": ("h",),
}
"""What can be seen of each cell."""
GATES: dict[str, tuple[str, ...]] = {"lstm": ("i", "f", "o"), "gru": ("r", "z"), "rnn": ()}
"""Those of them that open and close, between 0 and 1."""
MAIN = {"lstm": "tanh_c", "gru": "h", "rnn": "h"}
"""The one that is shown unless another is asked for: what the unit holds, between -1 and 1."""

LIKELIEST = 5
CHUNK = 64  # characters a lane reads at a time
LANES = 32  # chunks read side by side; the memory of a trace in pieces follows from these two
TIE = 1e-12  # logits that differ by less are even, and the smaller id comes first

PER_CHARACTER = ("surprisal", "entropy", "rank", "likeliest", "probabilities")

Floats = npt.NDArray[np.floating[Any]]
Given = str | bytes | npt.NDArray[Any]  # the last are ids, `(T,)`
Units = Mapping[int, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Trace:
    """A text of T characters as a network read it; U units of each layer were asked for.

    Attributes:
        vocabulary: What the ids stand for.
        cell: lstm, gru or rnn.
        ids: The text, `(T,)`.
        units: Which units of each layer.
        values: Layer, then signal, then `(T, U)`: what it was after the character was read.
        surprisal: -ln p of the character before it was read, in nats, `(T,)`.
        entropy: Of that same prediction, in nats, `(T,)`.
        rank: The character's place in that same prediction, 1 is the likeliest, `(T,)`.
        likeliest: The ids of the 5 likeliest next characters (V, if that is less), `(T, 5)`; the smaller id first
            where two are even.
        probabilities: Theirs, `(T, 5)`.
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

    def __len__(self) -> int:
        """Return T."""
        return len(self.ids)

    def of(self, layer: int, unit: int, signal: str | None = None) -> Floats:
        """Return one unit's signal, `(T,)`; tanh c of an lstm, h of the others, unless another is named."""
        signal = signal or MAIN[self.cell]
        if unit not in self.units.get(layer, ()) or signal not in self.values[layer]:
            raise ConfigError(f"{signal} of unit {layer}:{unit} is not in this trace")
        return self.values[layer][signal][:, self.units[layer].index(unit)]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return `ids`, `codes`, `surprisal` ..., `layers.0.units` `(U,)`, `layers.0.tanh_c` `(T, U)` ...."""
        arrays = {name: getattr(self, name) for name in ("ids", *PER_CHARACTER)}
        arrays["codes"] = np.array(self.vocabulary.codes)
        for layer, signals in self.values.items():
            arrays[f"layers.{layer}.units"] = np.array(self.units[layer])
            arrays |= {f"layers.{layer}.{signal}": values for signal, values in signals.items()}
        return arrays

    def save(self, path: Path | str) -> None:
        """Write `arrays` to the kind of file that the name asks for: safetensors, and npz for any other."""

        def write(temporary: Path) -> None:
            if Path(path).suffix == ".safetensors":
                whole = {name: np.ascontiguousarray(array) for name, array in self.arrays().items()}
                temporary.write_bytes(save_arrays(whole, {"cell": self.cell, "units": self.vocabulary.units}))
                return
            with temporary.open("wb") as file:  # given a name, numpy would add a suffix to it
                np.savez_compressed(file, allow_pickle=False, **self.arrays())

        write_atomically(Path(path), write)


def trace(
    lm: LanguageModel,
    text: Given,
    *,
    units: Units | None = None,
    signals: Sequence[str] | None = None,
    unknown: Unknown = "error",
) -> Trace:
    """Read a text and keep what is asked for; the memory is that of what is kept.

    Args:
        lm: The model.
        text: At least one character that the model knows, or ids `(T,)`.
        units: Which units of which layers, such as `{0: [3, 17], 1: range(64)}`; all of them by default.
        signals: Which of `SIGNALS`; all by default.
        unknown: "error", or "skip" to leave out what the model has never seen.

    Raises:
        ConfigError: A layer, unit or signal that the model has not.
        UnknownCharacterError: Counts and names what the model has never seen.
        TextError: Nothing is left to read.
    """
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text, unknown=unknown)
    return join(list(pieces(lm, ids, units=units, signals=signals)))


def join(parts: Sequence[Trace]) -> Trace:
    """Put the consecutive pieces of a trace together."""
    values = {
        layer: {signal: np.concatenate([part.values[layer][signal] for part in parts]) for signal in kept}
        for layer, kept in parts[0].values.items()
    }
    whole: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("ids", *PER_CHARACTER)
    }
    return replace(parts[0], values=values, **whole)


def pieces(
    lm: LanguageModel,
    ids: npt.NDArray[Any],
    *,
    units: Units | None = None,
    signals: Sequence[str] | None = None,
    chunk: int = CHUNK,
) -> Iterator[Trace]:
    """Trace ids `(T,)` piece after piece, of `chunk` x 32 characters each, so that any length fits in the memory.

    Raises:
        ConfigError: A layer, unit or signal that the model has not.
        TextError: There are no ids.
    """
    shape = lm.network.architecture
    chosen, wanted = choose(shape, units), choose_signals(shape.cell, signals)
    if not len(ids):
        raise TextError("there is no character to inspect")
    with torch.no_grad():
        last, state, _ = _read(lm.network, np.array([lm.vocabulary.start]), lm.network.empty_state(1), 1)
        for begin in range(0, len(ids), chunk * LANES):
            block = np.asarray(ids[begin : begin + chunk * LANES], np.int64)
            with lm.network.threads():
                logits, state, seen = _read(lm.network, block, state, chunk)
            before, last = torch.cat([last, logits[:-1]]), logits[-1:]
            values = {
                layer: {name: _take(seen[layer][name], kept, shape.hidden) for name in wanted}
                for layer, kept in chosen.items()
            }
            yield Trace(
                lm.vocabulary, shape.cell, block, chosen, values, **_predictions(before, logits, block)
            )


def choose(shape: Architecture, units: Units | None) -> dict[int, tuple[int, ...]]:
    """Return which units of which layers are meant, in ascending layers; all if nothing is said."""
    if units is None:
        units = {layer: range(shape.hidden) for layer in range(shape.layers)}
    for layer, kept in units.items():
        if not 0 <= layer < shape.layers:
            raise ConfigError(f"there is no layer {layer}; the model's layers are 0 to {shape.layers - 1}")
        for unit in kept:
            if not 0 <= unit < shape.hidden:
                raise ConfigError(f"there is no unit {layer}:{unit}; a layer's are 0 to {shape.hidden - 1}")
    return {layer: tuple(units[layer]) for layer in sorted(units)}


def choose_signals(cell: str, signals: Sequence[str] | None) -> tuple[str, ...]:
    """Return which signals are meant; all that the cell has if nothing is said."""
    for name in signals or ():
        if name not in SIGNALS[cell]:
            raise ConfigError(f"{cell} has no signal '{name}'{did_you_mean(name, SIGNALS[cell])}")
    return SIGNALS[cell] if signals is None else tuple(signals)


def _take(values: Tensor, kept: tuple[int, ...], hidden: int) -> Floats:
    """Return the kept units' columns, copied only if they are not all."""
    return (values if kept == tuple(range(hidden)) else values[:, list(kept)]).cpu().numpy()


Seen = list[dict[str, Tensor]]  # of each layer, each signal


def _read(
    network: Network, ids: npt.NDArray[np.int64], state: State, chunk: int
) -> tuple[Tensor, State, Seen]:
    """Read consecutive ids `(T,)` from a state; return logits `(T, V)`, the state after, and signals `(T, H)`.

    The reference reads chunks side by side, which is many times faster than one after the other. The state that each
    chunk begins with is found by the fast path, which reads the whole text in order; so this is exact even for a
    network that never forgets.
    """
    inputs = torch.from_numpy(ids).to(state[0][0].device)
    whole = len(ids) // chunk
    results = []
    if whole:
        lanes = inputs[: whole * chunk].reshape(whole, chunk)
        starts = [state]
        for lane in lanes[:-1]:
            starts.append(network(lane[:, None], starts[-1])[1])
        logits, after, seen = watch(network, lanes.T, concatenate_rows(starts))
        results.append((logits, seen))
        state = select_rows(after, slice(-1, None))
    if whole * chunk < len(ids):
        logits, state, seen = watch(network, inputs[whole * chunk :, None], state)
        results.append((logits, seen))
    joined = [
        {name: torch.cat([seen[layer][name] for _, seen in results]) for name in signals}
        for layer, signals in enumerate(results[0][1])
    ]
    return torch.cat([logits for logits, _ in results]), state, joined


def watch(network: Network, ids: Tensor, state: State) -> tuple[Tensor, State, Seen]:
    """Read `(T, N)` by the reference; the lanes of what is returned follow each other, `(NT, ...)`."""
    seen: Seen = []
    logits, after = network(ids, state, recurrence=_watching(seen))
    flat = [{name: values.transpose(0, 1).flatten(0, 1) for name, values in each.items()} for each in seen]
    return logits.transpose(0, 1).flatten(0, 1), after, flat


def _watching(seen: Seen) -> Recurrence:
    """Return the reference recurrence, which adds what it saw of each layer to a list."""

    def recurrence(
        cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
    ) -> tuple[Tensor, LayerState]:
        outputs, after, gates = with_gates(cell, x, state, weights)
        if cell == "lstm":
            memory, memories = state[1], []
            for f, i, g in zip(gates["f"], gates["i"], gates["g"], strict=True):
                memory = f * memory + i * g
                memories.append(memory)
            gates["c"] = torch.stack(memories)
            gates["tanh_c"] = torch.tanh(gates["c"])
        seen.append({**gates, "h": outputs})
        return outputs, after

    return recurrence


def _predictions(before: Tensor, after: Tensor, ids: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Return surprisal, entropy and rank by the logits before, likeliest ids and probabilities by those after."""
    target = torch.from_numpy(ids).to(before.device)[:, None]
    log_p = before.double().log_softmax(1)
    order = TIE * torch.arange(log_p.shape[1], device=log_p.device)
    ranked = before.double() - order
    rank = 1 + (ranked > ranked.gather(1, target)).sum(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    likeliest = (after.double() - order).topk(min(LIKELIEST, after.shape[1]), dim=1).indices
    probabilities = after.double().softmax(1).gather(1, likeliest)
    columns = (-log_p.gather(1, target)[:, 0], entropy, rank, likeliest, probabilities)
    return {name: column.cpu().numpy() for name, column in zip(PER_CHARACTER, columns, strict=True)}
