"""A layer over consecutive steps: the reference, which shows its signals, torch's kernel, and our compiled one."""

from collections.abc import Callable

import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.model import compiled
from nextchar.model.cells import STEPS, Weights
from nextchar.model.compiled import Lookup
from nextchar.model.state import LayerState

Recurrence = Callable[[Cell, Tensor | Lookup, LayerState, Weights], tuple[Tensor, LayerState]]
Signals = dict[str, Tensor]
"""What a layer computed at every step: its gates, `c` and `tanh_c` of an LSTM, and `h`."""


def dense(x: Tensor | Lookup) -> Tensor:
    """Return the inputs `(T, B, X)`."""
    return x.dense() if isinstance(x, Lookup) else x


def reference(
    cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights, record: list[Signals] | None = None
) -> tuple[Tensor, LayerState]:
    """Run a layer over consecutive steps, one after the other.

    Args:
        cell: Which recurrence.
        x: Inputs, `(T, B, X)`, or a lookup of them.
        state: Before the first step, vectors `(B, H)`.
        weights: Of the layer.
        record: The signals of the layer, each `(T, B, H)`, are appended to this list.

    Returns:
        Outputs `(T, B, H)` and the state after the last step.
    """
    steps = []
    for step in dense(x):
        state, gates = STEPS[cell](step, state, weights)
        memory = {"c": state[1]} if cell == "lstm" else {}
        steps.append({**gates, **memory, "h": state[0]})
    signals = {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
    if cell == "lstm":
        signals["tanh_c"] = torch.tanh(signals["c"])
    if record is not None:
        record.append(signals)
    return signals["h"], state


def fused(cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run a layer over consecutive steps in one call of torch's kernel (oneDNN, cuDNN or plain).

    It takes and returns what `reference` does, and agrees with it.
    """
    layer = [vector[None] for vector in state]
    flat = list(weights)
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, False)
    if cell == "lstm":
        outputs, hidden, memory = torch.lstm(dense(x), layer, flat, *options)
        return outputs, (hidden[0], memory[0])
    kernel = torch.gru if cell == "gru" else torch.rnn_tanh
    outputs, hidden = kernel(dense(x), layer[0], flat, *options)
    return outputs, (hidden[0],)


def fastest(cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run a layer with the recurrence that is fastest where it is: `compiled.lstm` on a CPU, else `fused`."""
    if compiled.suits(cell, state[0].shape[1], state[0].device) and compiled.possible(x, state):
        return compiled.lstm(x, state, weights)
    return fused(cell, x, state, weights)
