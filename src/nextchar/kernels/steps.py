"""The compiled step: N streams side by side read given ids or draw their own, many steps in one call.

The result of a stream depends neither on the other streams nor on how many threads share the blocks. The
first call on a machine compiles (some seconds); the result is cached on disk.
"""

from concurrent.futures import Future
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from nextchar.kernels.barrier import (
    JOINED,
    SHUTDOWN,
    STALLS,
    Barrier,
    all_joined,
    begin_step,
    block_range,
    end_step,
    new_barrier,
    store_release,
    wait,
)
from nextchar.kernels.cells import BlockRange, gru, lstm, rnn
from nextchar.kernels.gemm import MR, ROWS, VECTOR_WIDTH, add_block, compiled, set_blocks
from nextchar.kernels.packing import Array, Floats, Packed, StreamState
from nextchar.kernels.sampler import Ids, SamplerState, draw, negative_log_likelihood, uniform
from nextchar.kernels.threads import available_cores, pool

# Floats on both sides of `Scratch.weights`. If logits were within 256 bytes of it, the compiler's check whether the two
# overlap would choose another loop, whose sums are rounded differently; a text would depend on where memory is.
GUARD = 64
DRAW = -1
"""Stands for an id that the stream draws."""


class StepBuffers(NamedTuple):
    """The inputs and outputs of T steps of N streams.

    Attributes:
        ids: `(T, N)`: given ids; where it is DRAW, the stream draws an id, which is stored here.
        nats: `(T, N)`, set to -log p of each id under the unfiltered network, except for START.
        logits: `(T, N, V)`, set to the network's before each id; or of length 0, and they are not kept.
    """

    ids: Ids
    nats: npt.NDArray[np.float64]
    logits: Floats = np.empty((0, 0, 0), np.float32)


class Scratch(NamedTuple):
    """Memory that one thread computes in.

    Attributes:
        sums: `(N, 64 B)`, the pre-activations of one layer's gates.
        hidden: `(N, 16 L U)`, the hidden states: the streams' own; with several threads a copy, because
            others already write the next states while this thread reads.
        total: `(N, 16 U)`, the input of the head: the sum of the layers, or the last.
        weights: `(V,)`, for drawing.
        order: `(V,)`, for drawing.
    """

    sums: Floats
    hidden: Array
    total: Array
    weights: Floats
    order: Ids


@register_jitable
def new_scratch(packed: Packed, streams: StreamState, size: int) -> Scratch:
    """Return scratch for streams over V ids; its hidden states are those of the streams themselves."""
    rows, layers, units, _ = streams.hidden.shape
    return Scratch(
        np.zeros((rows, len(packed.first) * ROWS), np.float32),
        streams.hidden.reshape(rows, layers * units * VECTOR_WIDTH),
        np.zeros((rows, units * VECTOR_WIDTH), streams.hidden.dtype),
        np.empty(size + 2 * GUARD, np.float32)[GUARD : GUARD + size],
        np.empty(size, np.int64),
    )


@register_jitable
def padded_streams(count: int) -> int:
    """Return how many streams are multiplied: 3 are padded to 4, as one 4-wide call is faster than 2 + 1."""
    return count + (count % MR == MR - 1)


# The loops over one stream are written out element by element: making views of arrays takes longer than the
# work on them.


@compiled
def gate_preactivations(layer: int, ids: Ids, packed: Packed, scratch: Scratch, part: BlockRange) -> None:
    """Compute a range of blocks of the pre-activations of a layer's gates."""
    size = scratch.total.shape[1]
    x = scratch.hidden[: padded_streams(part.streams), max(0, layer - 1) * size : (layer + 1) * size]
    if layer:
        affine(packed.above[layer - 1], x, scratch.sums, packed.scales[layer], packed.bias[layer - 1], part)
    elif part.streams == 1:
        affine(packed.first, x, scratch.sums, packed.scales[0], packed.table[ids[0]], part)
    else:
        copy_rows(scratch.sums, packed.table, ids, part)
        add_product(packed.first, x, scratch.sums, packed.scales[0], part)


@compiled
def affine(weights: Array, x: Array, sums: Floats, scales: Floats, bias: Floats, part: BlockRange) -> None:
    """Set a range of the sums `(N, 64 B)` to a bias `(B, 64)` plus weights times x `(N, C)`."""
    if part.streams == 1:
        set_blocks(weights, x, sums, scales, bias, part.first, part.last)
    else:
        copy_rows(sums, bias.reshape(1, -1, ROWS), np.zeros(part.streams, np.int64), part)
        add_product(weights, x, sums, scales, part)


@compiled
def copy_rows(sums: Floats, table: Floats, ids: Ids, part: BlockRange) -> None:
    """Set a range of the sums of each stream to a row of a table `(U, B, 64)`."""
    blocks = sums.reshape(len(sums), -1, ROWS)
    for stream in range(part.streams):
        for block in range(part.first, part.last):
            for row in range(ROWS):
                blocks[stream, block, row] = table[ids[stream], block, row]


@compiled
def add_product(weights: Array, x: Array, sums: Floats, scales: Floats, part: BlockRange) -> None:
    """Add a range of blocks of weights times x to the sums."""
    for block in range(part.first, part.last):
        rows = sums[: len(x), block * ROWS : (block + 1) * ROWS]
        add_block(weights[block], x, rows, scales[block])


@compiled
def copy_hidden(layer: int, streams: StreamState, scratch: Scratch, count: int) -> None:
    """Copy the outputs of a layer of the first streams into a thread's scratch."""
    units = streams.hidden.shape[2]
    for stream in range(count):
        for group in range(units):
            at = (layer * units + group) * VECTOR_WIDTH
            for unit in range(VECTOR_WIDTH):
                scratch.hidden[stream, at + unit] = streams.hidden[stream, layer, group, unit]


@compiled
def compute_logits(packed: Packed, scratch: Scratch, logits: Floats, part: BlockRange) -> None:
    """Compute a range of blocks of the logits `(N, 64 Q)`."""
    size = scratch.total.shape[1]
    top = len(packed.above)
    hidden = scratch.hidden.reshape(len(scratch.hidden), -1, size)
    for stream in range(part.streams):
        for unit in range(size):
            scratch.total[stream, unit] = hidden[stream, top, unit]
        if packed.sum_outputs:
            for below in range(top):
                for unit in range(size):
                    scratch.total[stream, unit] += hidden[stream, below, unit]
    x = scratch.total[: padded_streams(part.streams)]
    affine(packed.head, x, logits, packed.head_scales, packed.head_bias, part)


@compiled
def advance(packed: Packed, streams: StreamState, scratch: Scratch, barrier: Barrier, count: int) -> int:
    """Compute this thread's part of one step: every stream reads its input id. Return the next count.

    The threads wait for each other at the end of every layer. Until then each writes only its own units, and
    reads only its copy of the hidden states.
    """
    rows, layers, _, _ = streams.hidden.shape
    gates = scratch.sums.reshape(rows, len(packed.first), ROWS // VECTOR_WIDTH, VECTOR_WIDTH)
    first, last = block_range(len(packed.first), barrier)
    part = BlockRange(len(barrier.inputs), first, last)
    for layer in range(layers):
        gate_preactivations(layer, barrier.inputs, packed, scratch, part)
        if packed.cell == 0:
            lstm(gates, streams.memory, streams.hidden, layer, part)
        elif packed.cell == 1:
            gru(gates, streams.memory, streams.hidden, layer, part)
        else:
            rnn(gates, streams.hidden, layer, part)
        count = wait(count, barrier)
        if barrier.size > 1:
            copy_hidden(layer, streams, scratch, part.streams)
    first, last = block_range(len(packed.head), barrier)
    compute_logits(packed, scratch, streams.logits, BlockRange(part.streams, first, last))
    return end_step(count, barrier)


@compiled
def join_and_copy(streams: StreamState, scratch: Scratch, barrier: Barrier) -> tuple[int, Scratch]:
    """Join between two steps; return the next count, or SHUTDOWN, and scratch with a hidden copy."""
    store_release(barrier.counters, barrier.rank, JOINED)
    count = begin_step(JOINED, barrier)
    if count != SHUTDOWN:
        hidden = streams.hidden.copy().reshape(scratch.hidden.shape)
        scratch = Scratch(scratch.sums, hidden, scratch.total, scratch.weights, scratch.order)
        # No thread writes new states before all have copied the old ones.
        count = wait(count, barrier)
    return count, scratch


@compiled
def assist(packed: Packed, streams: StreamState, scratch: Scratch, barrier: Barrier) -> None:
    """Compute a helper's part of every step from the one at which all have joined."""
    count, own = join_and_copy(streams, scratch, barrier)
    while count != SHUTDOWN:
        count = begin_step(count, barrier)
        if count != SHUTDOWN:
            count = advance(packed, streams, own, barrier, count)


@compiled
def select_inputs(
    step: int, buffers: StepBuffers, streams: StreamState, sampler: SamplerState, scratch: Scratch, inputs: Ids
) -> bool:
    """Set inputs `(N,)` to the ids of a step, given or drawn; return whether a stop id was drawn."""
    size = len(scratch.weights)
    stopped = False
    for stream in range(len(inputs)):
        index = buffers.ids[step, stream]
        if len(buffers.logits):
            for each in range(size):
                buffers.logits[step, stream, each] = streams.logits[stream, each]
        if index == DRAW:
            number = uniform(sampler.keys[stream], sampler.drawn[stream])
            sampler.drawn[stream] += 1
            index = draw(streams.logits[stream], sampler, stream, number, scratch.weights, scratch.order)
            buffers.ids[step, stream] = index
            if sampler.adjusted[stream]:
                sampler.counts[stream, index] += 1
            stopped = stopped or sampler.stop_ids[stream, index]
        if index < size:
            nats = negative_log_likelihood(streams.logits[stream], index, scratch.weights)
            buffers.nats[step, stream] = nats
        inputs[stream] = index
    return stopped


@compiled
def run(buffers: StepBuffers, packed: Packed, streams: StreamState, sampler: SamplerState, barrier: Barrier) -> int:
    """Let streams read or draw ids; return the number of steps. A helper returns when its leader does.

    Args:
        buffers: What is read and what is drawn.
        packed: The weights.
        streams: `padded_streams(N)` or more; updated.
        sampler: How ids are drawn; updated.
        barrier: Of the calling thread. All threads pass the same other arguments, at any time or never.
    """
    shared = new_scratch(packed, streams, sampler.stop_ids.shape[1])
    if barrier.rank:
        assist(packed, streams, shared, barrier)
        return 0
    alone = Barrier(0, 1, barrier.counters, barrier.inputs)
    current, scratch = alone, shared
    length = len(buffers.ids)
    count, done = 0, length
    for step in range(length):
        stopped = select_inputs(step, buffers, streams, sampler, scratch, barrier.inputs)
        # A leader that had to yield its core has lost a helper's. It then runs alone for the rest of this
        # call: on a busy core every wait may last as long as a time slice of the system.
        stalled = barrier.counters[0, STALLS] > 0
        if current.size < barrier.size and not stalled and all_joined(barrier):
            current = barrier
            count, scratch = join_and_copy(streams, shared, barrier)
        elif current.size > 1 and stalled:
            store_release(barrier.counters, 0, SHUTDOWN)
            current, scratch = alone, shared
        count = advance(packed, streams, scratch, current, begin_step(count, current))
        if stopped:
            done = step + 1
            break
    store_release(barrier.counters, 0, SHUTDOWN)
    return done


def run_in_threads(
    threads: int, buffers: StepBuffers, packed: Packed, streams: StreamState, sampler: SamplerState
) -> int:
    """Do what `run` does with this thread and up to `threads - 1` helpers from the pool."""
    threads = min(threads, available_cores())
    barrier = new_barrier(threads, buffers.ids.shape[1])
    helpers: list[Future[int]] = []
    try:
        for rank in range(1, threads):
            mine = barrier._replace(rank=rank)
            helpers.append(pool().submit(run, buffers, packed, streams, sampler, mine))
        return int(run(buffers, packed, streams, sampler, barrier))
    finally:
        # No need to wait for helpers. Those that run see the shutdown, even if this thread was interrupted
        # before its first step; those that have not started are cancelled.
        barrier.counters[0, 0] = SHUTDOWN
        for helper in helpers:
            helper.cancel()
