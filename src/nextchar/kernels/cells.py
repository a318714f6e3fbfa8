"""The recurrences: from the pre-activations of a layer's gates to its next hidden state.

Every inner loop runs over 16 units side by side, which LLVM turns into vector instructions. Arguments of
each: gates `(N, B, 4, 16)`, the pre-activations; memory `(N, L, U, 16)`, set; hidden `(N, L, U, 16)`, set;
the layer; and the block range to compute. Units that only pad a block have gates of 0, and so stay at 0.
"""

from typing import NamedTuple

import numpy as np

from nextchar.kernels.functions import sigmoid, store, tanh
from nextchar.kernels.gemm import VECTOR_WIDTH, compiled
from nextchar.kernels.packing import Array, Floats


class BlockRange(NamedTuple):
    """The part of a layer that one thread computes.

    Attributes:
        streams: How many streams, from the first on.
        first: The first block.
        last: The block after the last.
    """

    streams: int
    first: int
    last: int


@compiled
def lstm(gates: Floats, memory: Floats, hidden: Array, layer: int, part: BlockRange) -> None:
    """Compute hidden and cell from the gates i, f, g, o; memory holds the cell."""
    for stream in range(part.streams):
        for block in range(part.first, part.last):
            for unit in range(VECTOR_WIDTH):
                i = sigmoid(gates[stream, block, 0, unit])
                f = sigmoid(gates[stream, block, 1, unit])
                g = tanh(gates[stream, block, 2, unit])
                o = sigmoid(gates[stream, block, 3, unit])
                cell = f * memory[stream, layer, block, unit] + i * g
                memory[stream, layer, block, unit] = cell
                hidden[stream, layer, block, unit] = store(o * tanh(cell), hidden)


@compiled
def gru(gates: Floats, memory: Floats, hidden: Array, layer: int, part: BlockRange) -> None:
    """Compute hidden from r, z and the two parts of n; memory holds the unrounded hidden."""
    for stream in range(part.streams):
        for block in range(part.first, part.last):
            for unit in range(VECTOR_WIDTH):
                r = sigmoid(gates[stream, block, 0, unit])
                z = sigmoid(gates[stream, block, 1, unit])
                n = tanh(gates[stream, block, 2, unit] + r * gates[stream, block, 3, unit])
                value = (np.float32(1) - z) * n + z * memory[stream, layer, block, unit]
                memory[stream, layer, block, unit] = value
                hidden[stream, layer, block, unit] = store(value, hidden)


@compiled
def rnn(gates: Floats, hidden: Array, layer: int, part: BlockRange) -> None:
    """Compute hidden from the only gate; a block is four groups of units."""
    for stream in range(part.streams):
        for group in range(4 * part.first, 4 * part.last):
            for unit in range(VECTOR_WIDTH):
                value = tanh(gates[stream, group // 4, group % 4, unit])
                hidden[stream, layer, group, unit] = store(value, hidden)
