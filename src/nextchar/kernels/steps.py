"""The compiled step: one stream, one character after the other, in loops that become vector instructions.

The first call ever compiles (a few seconds) and leaves the result on disk beside this file, or in the user's cache.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from nextchar.kernels.packing import Floats, Packed

# Reordering sums is what lets them be vectorised; infinities and NaN keep their meaning.
FAST = {"reassoc", "contract", "nsz", "arcp", "afn"}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function, and keep the result on disk."""
    return njit(cache=True, fastmath=FAST, nogil=True, boundscheck=False, error_model="numpy")(function)


@compiled
def add_product(matrix: Floats, vector: Floats, out: Floats) -> None:
    """Add matrix `(R, C)` times vector `(C,)` to out `(R,)`, four rows at a time to read the vector once."""
    rows, columns = matrix.shape
    whole = rows - rows % 4
    for row in range(0, whole, 4):
        a = b = c = d = np.float32(0)
        for column in range(columns):
            x = vector[column]
            a += matrix[row, column] * x
            b += matrix[row + 1, column] * x
            c += matrix[row + 2, column] * x
            d += matrix[row + 3, column] * x
        out[row] += a
        out[row + 1] += b
        out[row + 2] += c
        out[row + 3] += d
    for row in range(whole, rows):
        a = np.float32(0)
        for column in range(columns):
            a += matrix[row, column] * vector[column]
        out[row] += a


@compiled
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + exp(-x))."""
    one = np.float32(1)
    return one / (one + np.exp(-x))


@compiled
def lstm(x: Floats, h: Floats, state: Floats, layer: int) -> None:
    """Set a layer's hidden and cell from what input and hidden add to the gates i, f, g, o, each `(4H,)`."""
    size = state.shape[2]
    for unit in range(size):
        i = sigmoid(x[unit] + h[unit])
        f = sigmoid(x[size + unit] + h[size + unit])
        g = np.tanh(x[2 * size + unit] + h[2 * size + unit])
        o = sigmoid(x[3 * size + unit] + h[3 * size + unit])
        cell = f * state[1, layer, unit] + i * g
        state[1, layer, unit] = cell
        state[0, layer, unit] = o * np.tanh(cell)


@compiled
def gru(x: Floats, h: Floats, state: Floats, layer: int) -> None:
    """Set a layer's hidden from what input and hidden add to the gates r, z, n, each `(3H,)`."""
    size = state.shape[2]
    for unit in range(size):
        r = sigmoid(x[unit] + h[unit])
        z = sigmoid(x[size + unit] + h[size + unit])
        n = np.tanh(x[2 * size + unit] + r * h[2 * size + unit])
        state[0, layer, unit] = (np.float32(1) - z) * n + z * state[0, layer, unit]


@compiled
def rnn(x: Floats, h: Floats, state: Floats, layer: int) -> None:
    """Set a layer's hidden from what input and hidden add, each `(H,)`."""
    for unit in range(state.shape[2]):
        state[0, layer, unit] = np.tanh(x[unit] + h[unit])


@compiled
def run(cell: int, ids: npt.NDArray[np.int64], packed: Packed, state: Floats, logits: Floats) -> None:
    """Read ids one after the other.

    Args:
        cell: The recurrence, as its place in `CELLS`. (A function as an argument could not be kept on disk.)
        ids: `(T,)`; V is START.
        packed: The weights.
        state: `(S, L, H)`, before; set to what it is after.
        logits: `(T, V)`, set to what is predicted after each id.
    """
    layers, rows, size = packed.weight_hh.shape
    x = np.empty(rows, np.float32)
    h = np.empty(rows, np.float32)
    top = np.empty(size, np.float32)
    for t in range(len(ids)):
        for layer in range(layers):
            if layer:
                x[:] = packed.bias_ih[layer - 1]
                add_product(packed.weight_ih[layer - 1], state[0, layer - 1], x)
            else:
                x[:] = packed.table[ids[t]]
            h[:] = packed.bias_hh[layer]
            add_product(packed.weight_hh[layer], state[0, layer], h)
            if cell == 0:
                lstm(x, h, state, layer)
            elif cell == 1:
                gru(x, h, state, layer)
            else:
                rnn(x, h, state, layer)
        top[:] = state[0, layers - 1]
        if packed.sum_outputs:
            for layer in range(layers - 1):
                top += state[0, layer]
        logits[t] = packed.head_bias
        add_product(packed.head, top, logits[t])
