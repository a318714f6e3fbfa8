"""A layer over a whole window: the reference, step by step with its gates, the library's in one call, and our own."""

from collections.abc import Callable

import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.model import compiled
from nextchar.model.cells import STEPS, Gates, Weights
from nextchar.model.compiled import Lookup
from nextchar.model.state import LayerState

Recurrence = Callable[[Cell, Tensor | Lookup, LayerState, Weights], tuple[Tensor, LayerState]]


def dense(x: Tensor | Lookup) -> Tensor:
    """Return the inputs `(T, N, X)`."""
    return x.dense() if isinstance(x, Lookup) else x


def reference(
    cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
) -> tuple[Tensor, LayerState]:
    """Run a layer over a window, one step after the other.

    Args:
        cell: Which recurrence.
        x: Inputs, `(T, N, X)`, or a lookup of them.
        state: Before the window, vectors `(N, H)`.
        weights: The layer's.

    Returns:
        Outputs `(T, N, H)` and the state after the window.
    """
    outputs, after, _ = with_gates(cell, x, state, weights)
    return outputs, after


def with_gates(
    cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
) -> tuple[Tensor, LayerState, Gates]:
    """Run the reference and also return its gates, each `(T, N, H)`."""
    outputs, gates = [], []
    for step in dense(x):
        state, at_step = STEPS[cell](step, state, weights)
        outputs.append(state[0])
        gates.append(at_step)
    return torch.stack(outputs), state, {name: torch.stack([g[name] for g in gates]) for name in gates[0]}


def fused(cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run a layer over a window in one call of the library's kernel (oneDNN, cuDNN or plain).

    Takes and returns what `reference` does, and agrees with it.
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
    """Run a layer with what measures fastest where it is: `compiled.lstm` on a CPU, else `fused`."""
    if compiled.suits(cell, state[0].shape[1], state[0].device) and compiled.possible(x, state):
        return compiled.lstm(x, state, weights)
    return fused(cell, x, state, weights)
