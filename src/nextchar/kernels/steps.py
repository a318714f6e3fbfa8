"""The compiled step: lanes side by side read characters that are given, or choose their own, many in one call.

A lane's result depends neither on the lanes beside it nor on how many cores share the blocks. The first call ever
compiles (some seconds) and leaves the result on disk beside this file, or in the user's cache.
"""

from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from nextchar.kernels.barrier import (
    OVER,
    Team,
    arrive,
    begin,
    dismiss,
    end,
    gathered,
    meet,
    new_team,
    share,
    stalled,
)
from nextchar.kernels.cells import Part, gru, lstm, rnn
from nextchar.kernels.gemm import MR, ROWS, VECTOR_WIDTH, add_block, compiled, set_blocks
from nextchar.kernels.packing import Array, Floats, Packed, StreamState
from nextchar.kernels.sampler import Rules, choose, cost, uniform
from nextchar.kernels.threads import available_cores, pool

Ids = npt.NDArray[np.int64]
TO_CHOOSE = -1


class Passage(NamedTuple):
    """What N lanes read, or write, in T steps.

    Attributes:
        ids: `(T, N)`: what is given; where it is TO_CHOOSE, the lane draws an id, which is put there.
        nats: `(T, N)`, set to what each id cost the unfiltered network, but for START.
        record: `(T, N, V)`, set to the logits after each id; or `(0, 0, 0)` where nobody asks.
    """

    ids: Ids
    nats: npt.NDArray[np.float64]
    record: Floats


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
    """A member's own room to work in.

    Attributes:
        sums: `(N, 64 B)`, what is added up for the gates of a layer.
        hidden: `(N, 16 L U)`, the lanes' own; in a team a copy, as others already write theirs while this one reads.
        total: `(N, 16 U)`, what the head reads: the sum of the layers, or the last.
        weights: `(V,)`, for choosing.
        order: `(V,)`, for choosing.
    """

    sums: Floats
    hidden: Array
    total: Array
    weights: Floats
    order: Ids


@register_jitable
def rounded(count: int) -> int:
    """Return how many lanes are multiplied for so many: three and one that nobody looks at are faster than two and one."""
    return count + (count % MR == MR - 1)


# What one lane does is spelt out number by number, because views of arrays cost more here than what is done with them.


@compiled
def add_up(layer: int, ids: Ids, packed: Packed, work: Work, part: Part) -> None:
    """Set a part of the sums to what a layer's gates are made of."""
    size = work.total.shape[1]
    x = work.hidden[: rounded(part.lanes), max(0, layer - 1) * size : (layer + 1) * size]
    if layer:
        multiply(packed.above[layer - 1], x, work.sums, packed.scales[layer], packed.bias[layer - 1], part)
    elif part.lanes == 1:
        multiply(packed.first, x, work.sums, packed.scales[0], packed.table[ids[0]], part)
    else:
        look_up(work.sums, packed.table, ids, part)
        add(packed.first, x, work.sums, packed.scales[0], part)


@compiled
def multiply(weights: Array, x: Array, sums: Floats, scales: Floats, bias: Floats, part: Part) -> None:
    """Set a part of the sums `(N, 64 B)` to a bias `(B, 64)` plus weights times x `(N, C)`, or `rounded(N)` of them."""
    if part.lanes == 1:
        set_blocks(weights, x, sums, scales, bias, part.first, part.last)
    else:
        look_up(sums, bias.reshape(1, -1, ROWS), np.zeros(part.lanes, np.int64), part)
        add(weights, x, sums, scales, part)


@compiled
def look_up(sums: Floats, table: Floats, ids: Ids, part: Part) -> None:
    """Set a part of the sums of each lane to a row of a table `(U, B, 64)`."""
    blocks = sums.reshape(len(sums), -1, ROWS)
    for lane in range(part.lanes):
        for block in range(part.first, part.last):
            for row in range(ROWS):
                blocks[lane, block, row] = table[ids[lane], block, row]


@compiled
def add(weights: Array, x: Array, sums: Floats, scales: Floats, part: Part) -> None:
    """Add a part of weights times x to the sums."""
    for block in range(part.first, part.last):
        rows = sums[: len(x), block * ROWS : (block + 1) * ROWS]
        add_block(weights[block], x, rows, scales[block])


@compiled
def copy_hidden(layer: int, lanes: StreamState, work: Work, count: int) -> None:
    """Copy what the first lanes put out of a layer into a member's room."""
    units = lanes.hidden.shape[2]
    for lane in range(count):
        for group in range(units):
            at = (layer * units + group) * VECTOR_WIDTH
            for unit in range(VECTOR_WIDTH):
                work.hidden[lane, at + unit] = lanes.hidden[lane, layer, group, unit]


@compiled
def predict(packed: Packed, work: Work, logits: Floats, part: Part) -> None:
    """Set a part of the logits `(N, 64 Q)`."""
    size = work.total.shape[1]
    top = len(packed.above)
    hidden = work.hidden.reshape(len(work.hidden), -1, size)
    for lane in range(part.lanes):
        for unit in range(size):
            work.total[lane, unit] = hidden[lane, top, unit]
        if packed.sum_outputs:
            for below in range(top):
                for unit in range(size):
                    work.total[lane, unit] += hidden[lane, below, unit]
    x = work.total[: rounded(part.lanes)]
    multiply(packed.head, x, logits, packed.head_scales, packed.head_bias, part)


@compiled
def advance(packed: Packed, lanes: StreamState, work: Work, team: Team, count: int) -> int:
    """Let each lane read its id, and set its logits: this member's share of it. Return the next count.

    Where a layer ends all members meet. Until then each has written its own units alone, and read what it had copied.
    """
    rows, layers, _, _ = lanes.hidden.shape
    gates = work.sums.reshape(rows, len(packed.first), ROWS // VECTOR_WIDTH, VECTOR_WIDTH)
    first, last = share(len(packed.first), team)
    part = Part(len(team.now), first, last)
    for layer in range(layers):
        add_up(layer, team.now, packed, work, part)
        if packed.cell == 0:
            lstm(gates, lanes.memory, lanes.hidden, layer, part)
        elif packed.cell == 1:
            gru(gates, lanes.memory, lanes.hidden, layer, part)
        else:
            rnn(gates, lanes.hidden, layer, part)
        count = meet(count, team)
        if team.size > 1:
            copy_hidden(layer, lanes, work, part.lanes)
    first, last = share(len(packed.head), team)
    predict(packed, work, lanes.logits, Part(part.lanes, first, last))
    return end(count, team)


@compiled
def join(lanes: StreamState, work: Work, team: Team) -> tuple[int, Work]:
    """Come together between two steps; return the next count, or OVER, and room with a hidden of one's own."""
    count = arrive(team)
    if count != OVER:
        work = Work(
            work.sums, lanes.hidden.copy().reshape(work.hidden.shape), work.total, work.weights, work.order
        )
        # Nobody writes before all have copied.
        count = meet(count, team)
    return count, work


@compiled
def assist(packed: Packed, lanes: StreamState, work: Work, team: Team) -> None:
    """Do a helper's share of every step from the one before which all have come."""
    count, own = join(lanes, work, team)
    while count != OVER:
        count = begin(count, team)
        if count != OVER:
            count = advance(packed, lanes, own, team, count)


@compiled
def look_at(step: int, passage: Passage, lanes: StreamState, drawing: Drawing, work: Work, now: Ids) -> bool:
    """Set now `(N,)` to the ids of a step, given or chosen, and what they cost; return whether one of them ends."""
    size = len(drawing.ends)
    ended = False
    for lane in range(len(now)):
        chosen = passage.ids[step, lane]
        if chosen == TO_CHOOSE:
            number = uniform(drawing.keys[lane], drawing.places[lane])
            drawing.places[lane] += 1
            chosen = choose(lanes.logits[lane], drawing.rules, number, work.weights, work.order)
            passage.ids[step, lane] = chosen
            ended = ended or drawing.ends[chosen]
        if chosen < size:
            passage.nats[step, lane] = cost(lanes.logits[lane], chosen, work.weights)
        now[lane] = chosen
    return ended


@compiled
def run(passage: Passage, packed: Packed, lanes: StreamState, drawing: Drawing, team: Team) -> int:
    """Let lanes read ids, or choose them; return how many steps were done. A helper helps until its leader is done.

    Args:
        passage: What is read and written.
        packed: The weights.
        lanes: `rounded(N)` or more; set to what they are after.
        drawing: What chooses.
        team: Who calls. Every member of it passes the same other arguments, at any time or not at all.
    """
    rows, layers, units, _ = lanes.hidden.shape
    shared = Work(
        np.zeros((rows, len(packed.first) * ROWS), np.float32),
        lanes.hidden.reshape(rows, layers * units * VECTOR_WIDTH),
        np.zeros((rows, units * VECTOR_WIDTH), lanes.hidden.dtype),
        np.empty(len(drawing.ends), np.float32),
        np.empty(len(drawing.ends), np.int64),
    )
    if team.number:
        assist(packed, lanes, shared, team)
        return 0
    alone = Team(0, 1, team.board, team.now)
    crew, work = alone, shared
    length = len(passage.ids)
    count, done = 0, length
    for step in range(length):
        ended = look_at(step, passage, lanes, drawing, work, team.now)
        if crew.size < team.size and not stalled(team) and gathered(team):
            crew = team
            count, work = join(lanes, shared, team)
        elif crew.size > 1 and stalled(team):
            # For the rest of this call: where a core is busy every wait may be as long as the system's turns.
            dismiss(team)
            crew, work = alone, shared
        count = advance(packed, lanes, work, crew, begin(count, crew))
        if len(passage.record):
            for lane in range(len(team.now)):
                for index in range(len(drawing.ends)):
                    passage.record[step, lane, index] = lanes.logits[lane, index]
        if ended:
            done = step + 1
            break
    dismiss(team)
    return done


def run_together(size: int, passage: Passage, packed: Packed, lanes: StreamState, drawing: Drawing) -> int:
    """Do what `run` does with so many cores, as far as threads for them are free."""
    size = min(size, available_cores())
    team = new_team(size, passage.ids.shape[1])
    helpers: list[Future[int]] = []
    try:
        for number in range(1, size):
            member = team._replace(number=number)
            helpers.append(pool().submit(run, passage, packed, lanes, drawing, member))
        return int(run(passage, packed, lanes, drawing, team))
    finally:
        # Nobody waits for helpers to be gone. Those who run see that it is over, even if this thread was interrupted
        # before it could lead; those who never began need not.
        team.board[0, 0] = OVER
        for helper in helpers:
            helper.cancel()
