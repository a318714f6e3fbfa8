"""A layer over a whole window: the reference, step by step with its gates, and the fused one, in one call."""

from collections.abc import Callable

import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.model.cells import STEPS, Gates, Weights
from nextchar.model.state import LayerState

Recurrence = Callable[[Cell, Tensor, LayerState, Weights], tuple[Tensor, LayerState]]


def reference(cell: Cell, x: Tensor, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run a layer over a window, one step after the other.

    Args:
        cell: Which recurrence.
        x: Inputs, `(T, N, X)`.
        state: Before the window, vectors `(N, H)`.
        weights: The layer's.

    Returns:
        Outputs `(T, N, H)` and the state after the window.
    """
    outputs, after, _ = with_gates(cell, x, state, weights)
    return outputs, after


def with_gates(
    cell: Cell, x: Tensor, state: LayerState, weights: Weights
) -> tuple[Tensor, LayerState, Gates]:
    """Run the reference and also return its gates, each `(T, N, H)`."""
    outputs, gates = [], []
    for step in x:
        state, at_step = STEPS[cell](step, state, weights)
        outputs.append(state[0])
        gates.append(at_step)
    return torch.stack(outputs), state, {name: torch.stack([g[name] for g in gates]) for name in gates[0]}


def fused(cell: Cell, x: Tensor, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
    """Run a layer over a window in one call of the library's kernel (oneDNN, cuDNN or plain).

    Takes and returns what `reference` does, and agrees with it.
    """
    layer = [vector[None] for vector in state]
    flat = list(weights)
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, False)
    if cell == "lstm":
        outputs, hidden, memory = torch.lstm(x, layer, flat, *options)
        return outputs, (hidden[0], memory[0])
    kernel = torch.gru if cell == "gru" else torch.rnn_tanh
    outputs, hidden = kernel(x, layer[0], flat, *options)
    return outputs, (hidden[0],)
