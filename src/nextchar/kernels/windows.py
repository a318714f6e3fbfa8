"""An LSTM layer over a whole window, forward and backward, for training: every lane on its own, gates in the registers.

The rows of a layer are taken in blocks of 16 units with their four gates, so that a block's gates are finished where
they were summed. Arrays that torch multiplies afterwards have the usual order, gate after gate.

Shapes: T steps, N lanes, H hidden (a multiple of 16), B = H / 16 blocks; X width of the input, U ids in use.
A "kind" is float32, or uint16 for bfloat16 with sums in float32.
"""

from typing import Any

import numpy as np

from nextchar.kernels.functions import sigmoid, store, tanh
from nextchar.kernels.microkernel import ROWS, WIDE, add_block, compiled

AT_ONCE = 64  # rows of input that share a reading of a block of weights
GATES = 4


@compiled
def pack_units(weight: Any, packed: Any) -> None:
    """Lay `(4H, C)` float32 out for the forward product, `(B, C, 64)` or in pairs, in the kind of `packed`."""
    blocks = len(packed)
    hidden = len(weight) // GATES
    pair = packed.shape[2] // ROWS
    for block in range(blocks):
        for gate in range(GATES):
            for unit in range(WIDE):
                row = gate * hidden + block * WIDE + unit
                at = (gate * WIDE + unit) * pair
                for column in range(packed.shape[1]):
                    for k in range(pair):
                        packed[block, column, at + k] = store(weight[row, column * pair + k], packed)


@compiled
def pack_transposed(weight: Any, packed: Any) -> None:
    """Lay the transpose of `(4H, C)` float32 out for the backward product, `(C / 64 rounded up, 4H, 64)` or in pairs.

    Rows past C are left alone; they are zero, and nobody reads their sums.
    """
    columns = weight.shape[1]
    pair = packed.shape[2] // ROWS
    for block in range(len(packed)):
        width = min(ROWS, columns - block * ROWS)
        for step in range(packed.shape[1]):
            for k in range(pair):
                source = weight[step * pair + k, block * ROWS : block * ROWS + width]
                for unit in range(width):
                    packed[block, step, unit * pair + k] = store(source[unit], packed)


@compiled
def add_inputs(weights: Any, x: Any, gates: Any) -> None:
    """Add weights times inputs to what the gates begin with.

    Args:
        weights: `(B, X, 64)`, or in pairs.
        x: `(R, X)`, of the kind.
        gates: `(R, 64B)` float32.
    """
    no_scales = np.empty(0, np.float32)
    for first in range(0, len(x), AT_ONCE):
        rows = slice(first, min(first + AT_ONCE, len(x)))
        for block in range(len(weights)):
            add_block(
                weights[block], x[rows], gates[rows, block * ROWS : (block + 1) * ROWS], no_scales
            )


@compiled
def look_up(table: Any, ids: Any, gates: Any) -> None:
    """Copy a row of the table `(U, 64B)` for each id `(R,)` to the gates `(R, 64B)`."""
    for row in range(len(ids)):
        gates[row] = table[ids[row]]


@compiled
def forward(weights: Any, gates: Any, hidden: Any, cells: Any, first: int, last: int) -> None:
    """Run lanes `first` to `last` through a window.

    Args:
        weights: Recurrent, `(B, H, 64)`, or in pairs.
        gates: `(T, N, 64B)` float32: what the inputs give; set to the activations i, f, g, o.
        hidden: `(T + 1, N, H)` of the kind: the first given, the others set.
        cells: `(T + 1, N, H)` float32, likewise.
        first: Lane.
        last: The one after the last lane.
    """
    no_scales = np.empty(0, np.float32)
    for t in range(len(gates)):
        for block in range(len(weights)):
            own = slice(block * ROWS, (block + 1) * ROWS)
            add_block(weights[block], hidden[t, first:last], gates[t, first:last, own], no_scales)
            for lane in range(first, last):
                begin = block * WIDE
                advance(
                    gates[t, lane, own],
                    cells[t, lane, begin : begin + WIDE],
                    cells[t + 1, lane, begin : begin + WIDE],
                    hidden[t + 1, lane, begin : begin + WIDE],
                )


@compiled
def advance(gates: Any, before: Any, after: Any, hidden: Any) -> None:
    """Finish 16 units of one lane: activate the gates `(64,)`, set the cell and the hidden state, each `(16,)`."""
    for unit in range(WIDE):
        i = sigmoid(gates[unit])
        f = sigmoid(gates[WIDE + unit])
        g = tanh(gates[2 * WIDE + unit])
        o = sigmoid(gates[3 * WIDE + unit])
        cell = f * before[unit] + i * g
        gates[unit] = i
        gates[WIDE + unit] = f
        gates[2 * WIDE + unit] = g
        gates[3 * WIDE + unit] = o
        after[unit] = cell
        hidden[unit] = store(o * tanh(cell), hidden)


@compiled
def backward(transposed: Any, made: Any, gradients: Any, ids: Any, first: int, last: int) -> None:
    """Go back through a window for lanes `first` to `last`.

    Args:
        transposed: Recurrent weights `(H / 64 rounded up, 4H, 64)`, or in pairs.
        made: What `forward` set: gates `(T, N, 64B)`, overwritten, and cells `(T + 1, N, H)`.
        gradients: Four arrays. Of the outputs, `(T, N, H rounded up to 64)` float32: what comes through time is added.
            Of the last cells, `(N, H)` float32: set to that of the first. Of what goes into the gates, `(T, N, 4H)` of
            the kind, gate after gate: set. Of the table, `(U, 64B)` float32: added to.
        ids: `(T, N)`, the rows of the table that were read.
        first: Lane.
        last: The one after the last lane.
    """
    gates, cells = made
    d_hidden, d_cells, d_gates, d_table = gradients
    no_scales = np.empty(0, np.float32)
    hidden = cells.shape[2]
    for t in range(len(gates) - 1, -1, -1):
        if t < len(gates) - 1:
            for block in range(len(transposed)):
                own = slice(block * ROWS, (block + 1) * ROWS)
                add_block(
                    transposed[block], d_gates[t + 1, first:last], d_hidden[t, first:last, own], no_scales
                )
        for lane in range(first, last):
            for begin in range(0, hidden, WIDE):
                own = slice(begin, begin + WIDE)
                here = gates[t, lane, GATES * begin : GATES * begin + ROWS]
                retreat(here, cells[t, lane, own], cells[t + 1, lane, own], d_hidden[t, lane, own], d_cells[lane, own])
                for gate in range(GATES):
                    at = gate * hidden + begin
                    copy(here[gate * WIDE : (gate + 1) * WIDE], d_gates[t, lane, at : at + WIDE])
            add(gates[t, lane], d_table[ids[t, lane]])


@compiled
def retreat(gates: Any, before: Any, after: Any, d_hidden: Any, d_cell: Any) -> None:
    """Differentiate `advance`: put the gradient in the place of the gates, and carry d_cell `(16,)` one step back."""
    one = np.float32(1)
    for unit in range(WIDE):
        i, f = gates[unit], gates[WIDE + unit]
        g, o = gates[2 * WIDE + unit], gates[3 * WIDE + unit]
        bent = tanh(after[unit])
        d_after = d_cell[unit] + d_hidden[unit] * o * (one - bent * bent)
        gates[unit] = d_after * g * i * (one - i)
        gates[WIDE + unit] = d_after * before[unit] * f * (one - f)
        gates[2 * WIDE + unit] = d_after * i * (one - g * g)
        gates[3 * WIDE + unit] = d_hidden[unit] * bent * o * (one - o)
        d_cell[unit] = d_after * f


@compiled
def copy(values: Any, into: Any) -> None:
    """Store 16 float32 in the kind of `into`."""
    for unit in range(WIDE):
        into[unit] = store(values[unit], into)


@compiled
def add(values: Any, sums: Any) -> None:
    """Add values to sums."""
    for index in range(len(sums)):
        sums[index] += values[index]
