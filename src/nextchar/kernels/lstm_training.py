"""An LSTM layer over a whole window, forward and backward, for training: every lane on its own, gates in the registers.

The rows of a layer are taken in blocks of 16 units with their four gates, so that a block's gates are finished where
they were summed. Arrays that torch multiplies afterwards have the usual order, gate after gate.

Shapes: T steps, N lanes, H hidden (a multiple of 16), B = H / 16 blocks; X width of the input, U ids in use.
A "kind" is float32, or uint16 for bfloat16 with sums in float32.
"""

from typing import Any

import numpy as np

from nextchar.kernels.functions import sigmoid, store, tanh
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH, add_block, compiled

GATES = 4


@compiled
def pack_units(weight: Any, packed: Any, first: int, last: int) -> None:
    """Lay `(4H, C)` float32 out for the forward product, `(B, C, 64)` or in pairs, in the kind of `packed`.

    Only blocks `first` to `last` are set.
    """
    hidden = len(weight) // GATES
    pair = packed.shape[2] // ROWS
    for block in range(first, last):
        for gate in range(GATES):
            for unit in range(VECTOR_WIDTH):
                row = gate * hidden + block * VECTOR_WIDTH + unit
                at = (gate * VECTOR_WIDTH + unit) * pair
                for column in range(packed.shape[1]):
                    for k in range(pair):
                        packed[block, column, at + k] = store(weight[row, column * pair + k], packed)


@compiled
def pack_transposed(weight: Any, packed: Any, first: int, last: int) -> None:
    """Lay the transpose of `(4H, C)` float32 out for the backward product, `(C / 64 rounded up, 4H, 64)` or in pairs.

    Only blocks `first` to `last` are set. Rows past C are left alone; they are zero, and nobody reads their sums.
    """
    columns = weight.shape[1]
    pair = packed.shape[2] // ROWS
    for block in range(first, last):
        width = min(ROWS, columns - block * ROWS)
        for step in range(packed.shape[1]):
            for k in range(pair):
                source = weight[step * pair + k, block * ROWS : block * ROWS + width]
                for unit in range(width):
                    packed[block, step, unit * pair + k] = store(source[unit], packed)


@compiled
def begin(table: Any, ids: Any, gates: Any, first: int, last: int) -> None:
    """Set the gates of lanes `first` to `last`, `(T, N, B, 64)`, to the rows `ids` `(T, N)` of the table `(U, B, 64)`."""
    for t in range(len(gates)):
        for lane in range(first, last):
            gates[t, lane] = table[ids[t, lane]]


@compiled
def add_inputs(weights: Any, x: Any, gates: Any, first: int, last: int) -> None:
    """Add weights `(B, X, 64)`, or in pairs, times inputs `(T, N, X)` of the kind to the gates."""
    no_scales = np.empty(0, np.float32)
    for block in range(len(weights)):
        for t in range(len(gates)):
            add_block(weights[block], x[t, first:last], gates[t, first:last, block], no_scales)


@compiled
def forward(weights: Any, gates: Any, hidden: Any, cells: Any, first: int, last: int) -> None:
    """Run lanes `first` to `last` through a window.

    Args:
        weights: Recurrent, `(B, H, 64)`, or in pairs.
        gates: `(T, N, B, 64)` float32: what the inputs give; set to the activations i, f, g, o.
        hidden: `(T + 1, N, B, 16)` of the kind: the first given, the others set.
        cells: `(T + 1, N, B, 16)` float32, likewise.
        first: Lane.
        last: The one after the last lane.
    """
    no_scales = np.empty(0, np.float32)
    steps, lanes, blocks, _ = gates.shape
    rows = hidden.reshape(steps + 1, lanes, blocks * VECTOR_WIDTH)
    for t in range(steps):
        for block in range(blocks):
            add_block(weights[block], rows[t, first:last], gates[t, first:last, block], no_scales)
            for lane in range(first, last):
                advance(
                    gates[t, lane, block],
                    cells[t, lane, block],
                    cells[t + 1, lane, block],
                    hidden[t + 1, lane, block],
                )


@compiled
def advance(gates: Any, before: Any, after: Any, hidden: Any) -> None:
    """Finish 16 units of one lane: activate the gates `(64,)`, set the cell and the hidden state, each `(16,)`."""
    for unit in range(VECTOR_WIDTH):
        i = sigmoid(gates[unit])
        f = sigmoid(gates[VECTOR_WIDTH + unit])
        g = tanh(gates[2 * VECTOR_WIDTH + unit])
        o = sigmoid(gates[3 * VECTOR_WIDTH + unit])
        cell = f * before[unit] + i * g
        gates[unit] = i
        gates[VECTOR_WIDTH + unit] = f
        gates[2 * VECTOR_WIDTH + unit] = g
        gates[3 * VECTOR_WIDTH + unit] = o
        after[unit] = cell
        hidden[unit] = store(o * tanh(cell), hidden)


@compiled
def backward(transposed: Any, made: Any, gradients: Any, ids: Any, first: int, last: int) -> None:
    """Go back through a window for lanes `first` to `last`.

    Args:
        transposed: Recurrent weights `(H / 64 rounded up, 4H, 64)`, or in pairs.
        made: What `forward` set: gates `(T, N, B, 64)`, overwritten, and cells `(T + 1, N, B, 16)`.
        gradients: Four arrays. Of the outputs, `(T, N, H rounded up to 64)` float32: what comes through time is added.
            Of the last cells, `(N, B, 16)` float32: set to that of the first. Of what goes into the gates,
            `(T, N, 4, B, 16)` of the kind: set. Of the table, `(U, B, 64)` float32: added to.
        ids: `(T, N)`, the rows of the table that were read.
        first: Lane.
        last: The one after the last lane.
    """
    gates, cells = made
    d_hidden, d_cells, d_gates, d_table = gradients
    no_scales = np.empty(0, np.float32)
    steps, lanes, blocks, _ = gates.shape
    rows = d_gates.reshape(steps, lanes, GATES * blocks * VECTOR_WIDTH)
    d_units = d_hidden.reshape(steps, lanes, -1, VECTOR_WIDTH)
    for t in range(steps - 1, -1, -1):
        if t < steps - 1:
            for block in range(len(transposed)):
                own = slice(block * ROWS, (block + 1) * ROWS)
                add_block(transposed[block], rows[t + 1, first:last], d_hidden[t, first:last, own], no_scales)
        retreat(gates, cells, d_units, d_cells, t, (first, last))
        copy(gates, d_gates, t, (first, last))
        for lane in range(first, last):
            add(gates, d_table, (t, lane), ids[t, lane])


# Whole arrays and indices go into the next three, not views: making the views takes longer than 16 units do.
@compiled
def retreat(gates: Any, cells: Any, d_units: Any, d_cells: Any, t: int, lanes: tuple[int, int]) -> None:
    """Differentiate `advance`: put the gradients in the place of the gates, and carry d_cells one step back."""
    one = np.float32(1)
    for lane in range(*lanes):
        for block in range(gates.shape[2]):
            for unit in range(VECTOR_WIDTH):
                i, f = gates[t, lane, block, unit], gates[t, lane, block, VECTOR_WIDTH + unit]
                g, o = (
                    gates[t, lane, block, 2 * VECTOR_WIDTH + unit],
                    gates[t, lane, block, 3 * VECTOR_WIDTH + unit],
                )
                before, bent = cells[t, lane, block, unit], tanh(cells[t + 1, lane, block, unit])
                d_hidden = d_units[t, lane, block, unit]
                d_cell = d_cells[lane, block, unit] + d_hidden * o * (one - bent * bent)
                gates[t, lane, block, unit] = d_cell * g * i * (one - i)
                gates[t, lane, block, VECTOR_WIDTH + unit] = d_cell * before * f * (one - f)
                gates[t, lane, block, 2 * VECTOR_WIDTH + unit] = d_cell * i * (one - g * g)
                gates[t, lane, block, 3 * VECTOR_WIDTH + unit] = d_hidden * bent * o * (one - o)
                d_cells[lane, block, unit] = d_cell * f


@compiled
def copy(gates: Any, d_gates: Any, t: int, lanes: tuple[int, int]) -> None:
    """Store the blocks of step t gate after gate."""
    for lane in range(*lanes):
        for block in range(gates.shape[2]):
            for gate in range(GATES):
                for unit in range(VECTOR_WIDTH):
                    value = gates[t, lane, block, gate * VECTOR_WIDTH + unit]
                    d_gates[t, lane, gate, block, unit] = store(value, d_gates)


@compiled
def add(gates: Any, sums: Any, where: tuple[int, int], row: int) -> None:
    """Add what is at a step and a lane to a row of sums."""
    t, lane = where
    for block in range(gates.shape[2]):
        for index in range(ROWS):
            sums[row, block, index] += gates[t, lane, block, index]
