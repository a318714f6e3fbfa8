"""A spinning barrier for threads that share one step of a network: each computes its blocks of rows, then waits.

The thread of rank 0 is the leader: it draws the ids and decides when a call ends. Helpers join between two
steps. The leader never waits for a helper that has not joined, and continues alone if no helper does. Which
thread computes a block does not change the result.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from nextchar.kernels import cpu
from nextchar.kernels.amx import call, instruction
from nextchar.kernels.gemm import compiled

Counters = npt.NDArray[np.int64]

STRIDE = 16
"""int64 between two counters: two cache lines, because processors prefetch lines in pairs."""
STALLS = 1
"""Index in the leader's row, which no other thread reads, of how often the leader had to yield its core."""
SHUTDOWN = 1 << 62
"""Value of the leader's counter after the last step of a call."""
JOINED = 1
"""Value of a helper's counter when it has joined."""
# Reads of a counter, some hundreds of microseconds, before the core is offered to other threads: on a busy
# machine the thread that is waited for may need this core. A thread whose weights are in no cache yet can be
# a hundred microseconds late.
_SPINS = 20_000


class Barrier(NamedTuple):
    """The barrier of one call as one of its threads uses it.

    Attributes:
        rank: Number of this thread; 0 is the leader.
        size: Number of threads.
        counters: `(size, STRIDE)`: the progress of each thread in column 0.
        inputs: `(N,)`, the ids that are read in this step.
    """

    rank: int
    size: int
    counters: Counters
    inputs: npt.NDArray[np.int64]


def new_barrier(size: int, streams: int) -> Barrier:
    """Return the leader's barrier for one call of `size` threads and N streams."""
    return Barrier(0, size, np.zeros((size, STRIDE), np.int64), np.zeros(streams, np.int64))


def _address(b: ir.IRBuilder, counters: Any, rank: Any) -> Any:
    """Return the address of a thread's counter."""
    return b.gep(counters.data, [b.mul(rank, ir.IntType(64)(STRIDE))])


@instruction(types.int64, None, types.int64)
def load_acquire(b: ir.IRBuilder, _: Any, counters: Any, rank: Any) -> Any:
    """Return a thread's counter; all that the thread wrote before it stored this value is then visible."""
    return b.load_atomic(_address(b, counters, rank), ordering="acquire", align=8)


@instruction(types.void, None, types.int64, types.int64)
def store_release(b: ir.IRBuilder, _: Any, counters: Any, rank: Any, count: Any) -> None:
    """Set a thread's counter, after everything the calling thread wrote before."""
    b.store_atomic(count, _address(b, counters, rank), ordering="release", align=8)


def _hint(name: str, result: ir.Type, available: bool) -> Any:
    """Return a call without arguments of the processor or the system, which does nothing elsewhere."""

    @instruction(types.void)
    def hint(b: ir.IRBuilder, _: Any) -> None:
        if available:
            call(b, name, result)

    return hint


_spin_hint = _hint("llvm.x86.sse2.pause", ir.VoidType(), cpu.X86)
_yield_core = _hint("sched_yield", ir.IntType(32), os.name == "posix")


@compiled
def wait_for(barrier: Barrier, rank: int, count: int) -> None:
    """Wait until the counter of a thread has reached `count`."""
    spins = 0
    while load_acquire(barrier.counters, rank) < count:
        spins += 1
        if spins < _SPINS:
            _spin_hint()
        else:
            _yield_core()
    if spins >= _SPINS and barrier.rank == 0:
        barrier.counters[0, STALLS] += 1


@compiled
def block_range(blocks: int, barrier: Barrier) -> tuple[int, int]:
    """Return the first block of this thread, and the one after its last."""
    rank, size = barrier.rank, barrier.size
    return (blocks * rank + size - 1) // size, (blocks * (rank + 1) + size - 1) // size


@compiled
def wait(count: int, barrier: Barrier) -> int:
    """Wait for all threads, so that each may read what any of them wrote before; return the next count."""
    if barrier.size > 1:
        store_release(barrier.counters, barrier.rank, count)
        for other in range(barrier.size):
            wait_for(barrier, other, count)
    return count + 1


@compiled
def all_joined(barrier: Barrier) -> bool:
    """Return whether all helpers have joined."""
    joined = 1
    while joined < barrier.size and load_acquire(barrier.counters, joined) >= JOINED:
        joined += 1
    return joined == barrier.size


@compiled
def begin_step(count: int, barrier: Barrier) -> int:
    """Begin a step, which helpers wait for; return the next count, or SHUTDOWN."""
    if barrier.rank:
        wait_for(barrier, 0, count)
        if load_acquire(barrier.counters, 0) == SHUTDOWN:
            return SHUTDOWN
    elif barrier.size > 1:
        store_release(barrier.counters, 0, count)
    return count + 1


@compiled
def end_step(count: int, barrier: Barrier) -> int:
    """End a step; the leader waits for all helpers. Return the next count."""
    if barrier.rank:
        store_release(barrier.counters, barrier.rank, count)
    for helper in range(1, barrier.size if barrier.rank == 0 else 1):
        wait_for(barrier, helper, count)
    return count + 1
