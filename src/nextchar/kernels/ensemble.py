"""Several networks write one text: each reads every character, and the mean of their probabilities chooses the next.

The networks may differ in cell and size. What one of them does is the step of `steps`, as it is alone.
"""

from typing import NamedTuple

import numpy as np

from nextchar.kernels.barrier import Team
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH, compiled
from nextchar.kernels.packing import Floats, Packed, StreamState
from nextchar.kernels.sampler import exponentials, largest
from nextchar.kernels.steps import Drawing, Passage, Work, advance, look_at

# What is less likely than this costs as much as this: its logarithm still is a number.
LEAST = np.float32(1e-37)


class Member(NamedTuple):
    """One network of several.

    Attributes:
        packed: Its weights.
        lanes: What its N streams have read.
        work: Its room to work in.
    """

    packed: Packed
    lanes: StreamState
    work: Work


def new_member(packed: Packed, lanes: StreamState, size: int) -> Member:
    """Return a network with lanes and room for them.

    Args:
        packed: The weights.
        lanes: `rounded(N)` or more.
        size: V.
    """
    rows, layers, units, _ = lanes.hidden.shape
    work = Work(
        np.zeros((rows, len(packed.first) * ROWS), np.float32),
        lanes.hidden.reshape(rows, layers * units * VECTOR_WIDTH),
        np.zeros((rows, units * VECTOR_WIDTH), lanes.hidden.dtype),
        np.empty(size, np.float32),
        np.empty(size, np.int64),
    )
    return Member(packed, lanes, work)


@compiled
def average(members: tuple[Member, ...], mixed: Floats, count: int) -> None:
    """Set the first lanes of mixed `(N, V)` to the logarithm of the mean of the members' probabilities."""
    size = mixed.shape[1]
    share = np.float32(1) / np.float32(len(members))
    for lane in range(count):
        for index in range(size):
            mixed[lane, index] = LEAST
        for member in members:
            logits, weights = member.lanes.logits[lane], member.work.weights
            total = exponentials(logits, logits[largest(logits, size)], np.float32(1), weights)
            for index in range(size):
                mixed[lane, index] += share * weights[index] / total
        for index in range(size):
            mixed[lane, index] = np.log(mixed[lane, index])


@compiled
def run(passage: Passage, members: tuple[Member, ...], mixed: Floats, drawing: Drawing, alone: Team) -> int:
    """Let lanes read ids, or choose them; return how many steps were done.

    Args:
        passage: What is read and written; `nats` are those of the mean. Nothing is recorded.
        members: The networks; their lanes are set to what they are after.
        mixed: `(N, V)`, to work in.
        drawing: What chooses.
        alone: A team of one.
    """
    first = members[0]
    seen = StreamState(first.lanes.hidden, first.lanes.memory, mixed)
    length = len(passage.ids)
    for step in range(length):
        average(members, mixed, len(alone.now))
        ended = look_at(step, passage, seen, drawing, first.work, alone.now)
        for member in members:
            advance(member.packed, member.lanes, member.work, alone, 0)
        if ended:
            return step + 1
    return length
