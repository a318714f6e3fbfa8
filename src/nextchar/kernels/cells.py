"""The recurrences: from what input and hidden add to the gates of a layer, to its next hidden.

Every inner loop is over 16 units side by side, so that it becomes vector instructions. Arguments of each: gates
`(N, B, 4, 16)`, what was added up; memory `(N, L, U, 16)`, set; hidden `(N, L, U, 16)`, set; which layer; and the part of
it to do. A unit that only fills up a block has gates of 0, and so it stays at 0.
"""

from typing import NamedTuple

import numpy as np

from nextchar.kernels.functions import sigmoid, store, tanh
from nextchar.kernels.gemm import VECTOR_WIDTH, compiled
from nextchar.kernels.packing import Array, Floats


class Part(NamedTuple):
    """What of a layer is done here.

    Attributes:
        lanes: How many, from the first on.
        first: The first block.
        last: The one after the last.
    """

    lanes: int
    first: int
    last: int


@compiled
def lstm(gates: Floats, memory: Floats, hidden: Array, layer: int, part: Part) -> None:
    """Hidden and cell from the gates i, f, g, o; memory holds the cell."""
    for lane in range(part.lanes):
        for block in range(part.first, part.last):
            for unit in range(VECTOR_WIDTH):
                i = sigmoid(gates[lane, block, 0, unit])
                f = sigmoid(gates[lane, block, 1, unit])
                g = tanh(gates[lane, block, 2, unit])
                o = sigmoid(gates[lane, block, 3, unit])
                cell = f * memory[lane, layer, block, unit] + i * g
                memory[lane, layer, block, unit] = cell
                hidden[lane, layer, block, unit] = store(o * tanh(cell), hidden)


@compiled
def gru(gates: Floats, memory: Floats, hidden: Array, layer: int, part: Part) -> None:
    """Hidden from r, z, and what input and hidden add to n; memory holds the hidden unrounded."""
    for lane in range(part.lanes):
        for block in range(part.first, part.last):
            for unit in range(VECTOR_WIDTH):
                r = sigmoid(gates[lane, block, 0, unit])
                z = sigmoid(gates[lane, block, 1, unit])
                n = tanh(gates[lane, block, 2, unit] + r * gates[lane, block, 3, unit])
                value = (np.float32(1) - z) * n + z * memory[lane, layer, block, unit]
                memory[lane, layer, block, unit] = value
                hidden[lane, layer, block, unit] = store(value, hidden)


@compiled
def rnn(gates: Floats, hidden: Array, layer: int, part: Part) -> None:
    """Hidden from the one gate; a block is four groups of units."""
    for lane in range(part.lanes):
        for group in range(4 * part.first, 4 * part.last):
            for unit in range(VECTOR_WIDTH):
                value = tanh(gates[lane, group // 4, group % 4, unit])
                hidden[lane, layer, group, unit] = store(value, hidden)
