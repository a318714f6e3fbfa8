"""One step of an ensemble: every network reads every id, and the mean of their probabilities draws the next.

The networks may differ in cell and size. What one network computes is the step of `steps`, as when it is
alone.
"""

from typing import NamedTuple

import numpy as np

from nextchar.kernels.barrier import Barrier
from nextchar.kernels.gemm import compiled
from nextchar.kernels.packing import Floats, Packed, StreamState
from nextchar.kernels.sampler import SamplerState, argmax, exponentials
from nextchar.kernels.steps import Scratch, StepBuffers, advance, select_inputs

# Added to every mean probability, so that its logarithm is finite.
LEAST = np.float32(1e-37)


class Member(NamedTuple):
    """One network of an ensemble.

    Attributes:
        packed: Its weights.
        streams: Its states of the N streams.
        scratch: Memory to compute in.
    """

    packed: Packed
    streams: StreamState
    scratch: Scratch


@compiled
def log_mean(members: tuple[Member, ...], mean: Floats, count: int) -> None:
    """Set the first `count` rows of `(N, V)` to the logarithm of the mean of the probabilities."""
    size = mean.shape[1]
    share = np.float32(1) / np.float32(len(members))
    for stream in range(count):
        for index in range(size):
            mean[stream, index] = LEAST
        for member in members:
            logits, weights = member.streams.logits[stream], member.scratch.weights
            total = exponentials(logits, logits[argmax(logits, size)], np.float32(1), weights)
            for index in range(size):
                mean[stream, index] += share * weights[index] / total
        for index in range(size):
            mean[stream, index] = np.log(mean[stream, index])


@compiled
def run_ensemble(
    buffers: StepBuffers, members: tuple[Member, ...], mean: Floats, sampler: SamplerState, barrier: Barrier
) -> int:
    """Let streams read or draw ids; return how many steps were done.

    Args:
        buffers: What is read and what is drawn; `nats` are those of the mean.
        members: The networks; the states of their streams are updated.
        mean: `(N, V)`, scratch.
        sampler: How ids are drawn; updated.
        barrier: Of a single thread.
    """
    first = members[0]
    mixed = StreamState(first.streams.hidden, first.streams.memory, mean)
    length = len(buffers.ids)
    for step in range(length):
        log_mean(members, mean, len(barrier.inputs))
        stopped = select_inputs(step, buffers, mixed, sampler, first.scratch, barrier.inputs)
        for member in members:
            advance(member.packed, member.streams, member.scratch, barrier, 0)
        if stopped:
            return step + 1
    return length
