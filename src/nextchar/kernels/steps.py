"""The compiled step: lanes side by side read characters that are given, or choose their own, many in one call.

A lane's result does not depend on the lanes beside it. The first call ever compiles (some seconds) and leaves the
result on disk beside this file, or in the user's cache.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from nextchar.kernels.cells import gru, lstm, rnn
from nextchar.kernels.choice import Rules, choose, cost, uniform
from nextchar.kernels.microkernel import ROWS, TOGETHER, WIDE, add_block, compiled
from nextchar.kernels.packing import Array, Floats, Lanes, Packed

Ids = npt.NDArray[np.int64]
TO_CHOOSE = -1


class Drawing(NamedTuple):
    """What chooses characters.

    Attributes:
        rules: The filters.
        keys: `(N,)` uint64, of each lane's random numbers.
        places: `(N,)`, how many characters each lane has chosen; set to what it is after.
        ends: `(V,)` bool: reading stops early after a step in which a lane chose one of these.
    """

    rules: Rules
    keys: npt.NDArray[np.uint64]
    places: Ids
    ends: npt.NDArray[np.bool_]


class Work(NamedTuple):
    """Room to work in.

    Attributes:
        sums: `(N, 64 B)`, what is added up for the gates of a layer.
        total: `(N, 16 U)`, what the head reads: the sum of the layers, or the last.
    """

    sums: Floats
    total: Array


@register_jitable
def rounded(count: int) -> int:
    """Return how many lanes are multiplied for so many: three and one that nobody looks at are faster than two and one."""
    return count + (count % TOGETHER == TOGETHER - 1)


# What one lane does is spelt out number by number, because views of arrays cost more here than what is done with them.


@compiled
def add_up(layer: int, ids: Ids, packed: Packed, hidden: Array, sums: Floats) -> None:
    """Set sums `(N, 64 B)` to what a layer's gates are made of; hidden is `(N, 16 L U)`."""
    size = hidden.shape[1] // (1 + len(packed.above))
    x = hidden[:, max(0, layer - 1) * size : (layer + 1) * size]
    for block in range(len(packed.first)):
        begin = block * ROWS
        for lane in range(len(ids)):
            for row in range(ROWS):
                if layer:
                    sums[lane, begin + row] = packed.bias[layer - 1, block, row]
                else:
                    sums[lane, begin + row] = packed.table[ids[lane], block, row]
        if layer:
            add_block(
                packed.above[layer - 1, block], x, sums[:, begin : begin + ROWS], packed.scales[layer, block]
            )
        else:
            add_block(packed.first[block], x, sums[:, begin : begin + ROWS], packed.scales[0, block])


@compiled
def predict(count: int, packed: Packed, hidden: Array, total: Array, logits: Floats) -> None:
    """Set the logits `(N, 64 Q)` of the first lanes; hidden is `(N, 16 L U)`, total `(N, 16 U)` to work in."""
    size = total.shape[1]
    top = len(packed.above) * size
    for lane in range(count):
        for unit in range(size):
            total[lane, unit] = hidden[lane, top + unit]
        if packed.sum_outputs:
            for below in range(0, top, size):
                for unit in range(size):
                    total[lane, unit] += hidden[lane, below + unit]
    for block in range(len(packed.head)):
        begin = block * ROWS
        for lane in range(count):
            for row in range(ROWS):
                logits[lane, begin + row] = packed.head_bias[block, row]
        x = total[:, :size]
        add_block(packed.head[block], x, logits[:, begin : begin + ROWS], packed.head_scales[block])


@compiled
def advance(ids: Ids, packed: Packed, lanes: Lanes, work: Work) -> None:
    """Let each lane read one id `(N,)`, and set its logits."""
    count = len(ids)
    wide = rounded(count)
    rows, layers, units, _ = lanes.hidden.shape
    hidden = lanes.hidden.reshape(rows, layers * units * WIDE)[:wide]
    gates = work.sums.reshape(rows, len(packed.first), ROWS // WIDE, WIDE)
    for layer in range(layers):
        add_up(layer, ids, packed, hidden, work.sums[:wide])
        if packed.cell == 0:
            lstm(gates, lanes.memory, lanes.hidden, layer, count)
        elif packed.cell == 1:
            gru(gates, lanes.memory, lanes.hidden, layer, count)
        else:
            rnn(gates, lanes.hidden, layer, count)
    predict(count, packed, hidden, work.total[:wide], lanes.logits[:wide])


@compiled
def run(
    ids: Ids, nats: npt.NDArray[np.float64], record: Floats, packed: Packed, lanes: Lanes, drawing: Drawing
) -> int:
    """Let N lanes read T ids each, or choose them; return how many steps were done.

    Args:
        ids: `(T, N)`: what is given; where it is TO_CHOOSE, the lane draws an id, which is put there.
        nats: `(T, N)`, set to what each id cost the unfiltered network, but for START.
        record: `(T, N, V)`, set to the logits after each id; or `(0, 0, 0)` where nobody asks.
        packed: The weights.
        lanes: `rounded(N)` or more; set to what they are after.
        drawing: What chooses.
    """
    length, count = ids.shape
    size = len(packed.table) - 1
    rows, _, units, _ = lanes.hidden.shape
    work = Work(
        np.zeros((rows, len(packed.first) * ROWS), np.float32),
        np.zeros((rows, units * WIDE), lanes.hidden.dtype),
    )
    weights = np.empty(size, np.float32)
    order = np.empty(size, np.int64)
    now = np.empty(count, np.int64)
    for step in range(length):
        ended = False
        for lane in range(count):
            chosen = ids[step, lane]
            if chosen == TO_CHOOSE:
                number = uniform(drawing.keys[lane], drawing.places[lane])
                drawing.places[lane] += 1
                chosen = choose(lanes.logits[lane], drawing.rules, number, weights, order)
                ids[step, lane] = chosen
                ended = ended or drawing.ends[chosen]
            if chosen < size:
                nats[step, lane] = cost(lanes.logits[lane], chosen, weights)
            now[lane] = chosen
        advance(now, packed, lanes, work)
        if len(record):
            for lane in range(count):
                record[step, lane] = lanes.logits[lane, :size]
        if ended:
            return step + 1
    return length
