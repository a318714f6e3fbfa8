"""An LSTM layer over a sequence, forward and backward, for training: rows of the batch are independent of each other.

A layer is computed in blocks of 16 units with their four gates, so that the gates of a block are activated right after
they were summed. Arrays that torch multiplies afterwards have the usual order, gate after gate.

Shapes: T steps, B rows of the batch, H hidden (a multiple of 16), K = H / 16 blocks; X width of the input, U ids in use.
Values of type W are float32, or bfloat16 as uint16 with sums in float32.
"""

from typing import Any

import numpy as np

from nextchar.kernels.functions import sigmoid, store, tanh
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH, add_block, compiled

GATES = 4


@compiled
def pack_units(weight: Any, packed: Any, first: int, last: int) -> None:
    """Pack `(4H, C)` float32 for the forward product, as `(K, C, 64)`, or in pairs of columns for bfloat16.

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
    """Pack the transpose of `(4H, C)` float32 for the backward product, as `(C / 64 rounded up, 4H, 64)`, or in pairs.

    Only blocks `first` to `last` are set. Rows after C stay zero, and their sums are not used.
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
def look_up(table: Any, ids: Any, gates: Any, first: int, last: int) -> None:
    """Set gates `(T, B, K, 64)` of rows `first` to `last` to the entries `ids` `(T, B)` of the table `(U, K, 64)`."""
    for t in range(len(gates)):
        for row in range(first, last):
            gates[t, row] = table[ids[t, row]]


@compiled
def add_inputs(weights: Any, x: Any, gates: Any, first: int, last: int) -> None:
    """Add weights `(K, X, 64)`, or in pairs, times inputs `(T, B, X)` of type W to the gates of rows `first` to `last`."""
    no_scales = np.empty(0, np.float32)
    for block in range(len(weights)):
        for t in range(len(gates)):
            add_block(weights[block], x[t, first:last], gates[t, first:last, block], no_scales)


@compiled
def forward(weights: Any, gates: Any, hidden: Any, cells: Any, first: int, last: int) -> None:
    """Run rows `first` to `last` through a sequence.

    Args:
        weights: Recurrent, `(K, H, 64)`, or in pairs.
        gates: `(T, B, K, 64)` float32: the sums from the inputs; set to the activations i, f, g, o.
        hidden: `(T + 1, B, K, 16)` of type W: the first is given, the others are set.
        cells: `(T + 1, B, K, 16)` float32, likewise.
        first: Row.
        last: The one after the last row.
    """
    no_scales = np.empty(0, np.float32)
    steps, batch, blocks, _ = gates.shape
    flat = hidden.reshape(steps + 1, batch, blocks * VECTOR_WIDTH)
    for t in range(steps):
        for block in range(blocks):
            add_block(weights[block], flat[t, first:last], gates[t, first:last, block], no_scales)
            for row in range(first, last):
                advance(gates[t, row, block], cells[t, row, block], cells[t + 1, row, block], hidden[t + 1, row, block])


@compiled
def advance(gates: Any, before: Any, after: Any, hidden: Any) -> None:
    """Compute 16 units of one row: activate the gates `(64,)`, set the cell and the hidden state, each `(16,)`."""
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
    """Backpropagate through a sequence for rows `first` to `last`.

    Args:
        transposed: Recurrent weights `(H / 64 rounded up, 4H, 64)`, or in pairs.
        made: What `forward` set: gates `(T, B, K, 64)`, overwritten, and cells `(T + 1, B, K, 16)`.
        gradients: Four arrays. Of the outputs, `(T, B, H rounded up to 64)` float32: the part through time is added.
            Of the last cells, `(B, K, 16)` float32: set to that of the first cells. Of the gates before activation,
            `(T, B, 4, K, 16)` of type W: set. Of the table, `(U, K, 64)` float32: added to.
        ids: `(T, B)`, the entries of the table that were read.
        first: Row.
        last: The one after the last row.
    """
    gates, cells = made
    d_hidden, d_cells, d_gates, d_table = gradients
    no_scales = np.empty(0, np.float32)
    steps, batch, blocks, _ = gates.shape
    flat = d_gates.reshape(steps, batch, GATES * blocks * VECTOR_WIDTH)
    d_units = d_hidden.reshape(steps, batch, -1, VECTOR_WIDTH)
    for t in range(steps - 1, -1, -1):
        if t < steps - 1:
            for block in range(len(transposed)):
                own = slice(block * ROWS, (block + 1) * ROWS)
                add_block(transposed[block], flat[t + 1, first:last], d_hidden[t, first:last, own], no_scales)
        backward_pointwise(gates, cells, d_units, d_cells, t, (first, last))
        store_gradients(gates, d_gates, t, (first, last))
        for row in range(first, last):
            add_to_table(gates, d_table, (t, row), ids[t, row])


# The next three take whole arrays and indices: creating views would take longer than computing 16 units.
@compiled
def backward_pointwise(gates: Any, cells: Any, d_units: Any, d_cells: Any, t: int, rows: tuple[int, int]) -> None:
    """Backpropagate through `advance`: overwrite the gates with their gradients, and take d_cells one step back."""
    one = np.float32(1)
    for row in range(*rows):
        for block in range(gates.shape[2]):
            for unit in range(VECTOR_WIDTH):
                i, f = gates[t, row, block, unit], gates[t, row, block, VECTOR_WIDTH + unit]
                g, o = (gates[t, row, block, 2 * VECTOR_WIDTH + unit], gates[t, row, block, 3 * VECTOR_WIDTH + unit])
                before, tanh_cell = cells[t, row, block, unit], tanh(cells[t + 1, row, block, unit])
                d_hidden = d_units[t, row, block, unit]
                d_cell = d_cells[row, block, unit] + d_hidden * o * (one - tanh_cell * tanh_cell)
                gates[t, row, block, unit] = d_cell * g * i * (one - i)
                gates[t, row, block, VECTOR_WIDTH + unit] = d_cell * before * f * (one - f)
                gates[t, row, block, 2 * VECTOR_WIDTH + unit] = d_cell * i * (one - g * g)
                gates[t, row, block, 3 * VECTOR_WIDTH + unit] = d_hidden * tanh_cell * o * (one - o)
                d_cells[row, block, unit] = d_cell * f


@compiled
def store_gradients(gates: Any, d_gates: Any, t: int, rows: tuple[int, int]) -> None:
    """Store the gradients of step t gate after gate."""
    for row in range(*rows):
        for block in range(gates.shape[2]):
            for gate in range(GATES):
                for unit in range(VECTOR_WIDTH):
                    value = gates[t, row, block, gate * VECTOR_WIDTH + unit]
                    d_gates[t, row, gate, block, unit] = store(value, d_gates)


@compiled
def add_to_table(gates: Any, table: Any, place: tuple[int, int], entry: int) -> None:
    """Add the gradients of a step and row to an entry of the table's gradient."""
    t, row = place
    for block in range(gates.shape[2]):
        for index in range(ROWS):
            table[entry, block, index] += gates[t, row, block, index]
