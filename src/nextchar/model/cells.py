"""One step of each recurrence, directly from its equations; faster implementations are tested against these.

Weights are stacked by gates: i, f, g, o of an lstm; r, z, n of a gru; the only one of an rnn. B is the batch size, H the
hidden size, X the input size.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.model.state import LayerState

Gates = dict[str, Tensor]


class Weights(NamedTuple):
    """One layer's weights, G gates each: `(GH, X)`, `(GH, H)`, `(GH,)`, `(GH,)`."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


def lstm(x: Tensor, state: LayerState, weights: Weights) -> tuple[LayerState, Gates]:
    """Advance one LSTM layer by one character.

    Args:
        x: Input, `(B, X)`.
        state: Hidden and cell, each `(B, H)`. Not modified.
        weights: Stacked in gate order i, f, g, o.

    Returns:
        The next state, and the four gate activations `(B, H)` that made it.

    Source: Hochreiter & Schmidhuber 1997; forget gate, Gers et al. 2000.
    """
    hidden, cell = state
    stacked = x @ weights.weight_ih.T + weights.bias_ih + hidden @ weights.weight_hh.T + weights.bias_hh
    i, f, g, o = stacked.chunk(4, dim=-1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = f * cell + i * g
    hidden = o * torch.tanh(cell)
    return (hidden, cell), {"i": i, "f": f, "g": g, "o": o}


def gru(x: Tensor, state: LayerState, weights: Weights) -> tuple[LayerState, Gates]:
    """Advance one GRU layer by one character.

    Args:
        x: Input, `(B, X)`.
        state: Hidden, `(B, H)`. Not modified.
        weights: Stacked in gate order r, z, n.

    Returns:
        The next state, and the three gate activations `(B, H)`.

    Source: Cho et al. 2014, with the reset gate after the product, as cuDNN and PyTorch have it.
    """
    (hidden,) = state
    from_input = (x @ weights.weight_ih.T + weights.bias_ih).chunk(3, dim=-1)
    from_hidden = (hidden @ weights.weight_hh.T + weights.bias_hh).chunk(3, dim=-1)
    r = torch.sigmoid(from_input[0] + from_hidden[0])
    z = torch.sigmoid(from_input[1] + from_hidden[1])
    n = torch.tanh(from_input[2] + r * from_hidden[2])
    return ((1 - z) * n + z * hidden,), {"r": r, "z": z, "n": n}


def rnn(x: Tensor, state: LayerState, weights: Weights) -> tuple[LayerState, Gates]:
    """Advance one vanilla RNN layer by one character: h = tanh(W x + U h + b).

    Args:
        x: Input, `(B, X)`.
        state: Hidden, `(B, H)`. Not modified.
        weights: One gate.

    Returns:
        The next state, and no gates.

    Source: Elman 1990.
    """
    (hidden,) = state
    hidden = torch.tanh(x @ weights.weight_ih.T + weights.bias_ih + hidden @ weights.weight_hh.T + weights.bias_hh)
    return (hidden,), {}


Step = Callable[[Tensor, LayerState, Weights], tuple[LayerState, Gates]]
STEPS: dict[Cell, Step] = {"lstm": lstm, "gru": gru, "rnn": rnn}
