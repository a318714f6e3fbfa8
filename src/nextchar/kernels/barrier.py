"""How several cores share one step: each does its blocks, and they meet in between by counting on a board.

Member 0 leads: it chooses characters and alone decides what is done. Helpers join when they come, at the next step; a
leader whom nobody joins does everything itself, so nobody ever waits for a thread that has not begun. Who computes a
block has no say in its numbers.
"""

import os
import platform
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types

from nextchar.kernels.amx import instruction
from nextchar.kernels.gemm import compiled

Board = npt.NDArray[np.int64]

LINE = 16
"""Places of a board between two members: two cache lines, which are fetched as a pair."""
_STALLS = 1
"""The place on the leader's line, which nobody else looks at, for how often it lost patience."""
OVER = 1 << 62
"""What the leader's count becomes when nothing more is to be done."""
_ARRIVED = 1
# Looks at the board, some hundreds of microseconds, before the core is offered to others: on a busy machine whom one
# waits for may need this very core. A member whose share of the weights lies in no cache yet is a hundred late.
_PATIENCE = 20_000
_X86 = platform.machine().lower() in {"x86_64", "amd64"}


class Team(NamedTuple):
    """One member's view of those who share the blocks.

    Attributes:
        number: Which member this is; 0 leads.
        size: How many there are.
        board: `(size, LINE)`: how far each has counted, in its first place.
        now: `(N,)`, the ids that are read in this step.
    """

    number: int
    size: int
    board: Board
    now: npt.NDArray[np.int64]


def new_team(size: int, lanes: int) -> Team:
    """Return a team of so many for one call, as the leader sees it."""
    return Team(0, size, np.zeros((size, LINE), np.int64), np.zeros(lanes, np.int64))


def _count_of(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    """Return the address of a member's count."""
    board = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(board.data, [builder.mul(arguments[1], ir.IntType(64)(LINE))])


# Whoever looks and sees a count, sees all that was written before it was told.
@instruction
def look(_context: Any, board: Any, _member: Any) -> Any:
    """Return how far a member has counted."""

    def write(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return b.load_atomic(_count_of(context, b, signature, arguments), ordering="acquire", align=8)

    return types.int64(board, types.int64), write


@instruction
def tell(_context: Any, board: Any, _member: Any, _count: Any) -> Any:
    """Set how far a member has counted."""

    def write(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        b.store_atomic(arguments[2], _count_of(context, b, signature, arguments), ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(board, types.int64, types.int64), write


def _call(builder: ir.IRBuilder, name: str, result: ir.Type) -> None:
    """Call a function of no arguments that the machine or the system has."""
    there = builder.module.globals.get(name)
    builder.call(there or ir.Function(builder.module, ir.FunctionType(result, []), name), [])


@instruction
def pause(_context: Any) -> Any:
    """Tell the processor that it is waiting."""

    def write(context: Any, b: ir.IRBuilder, _: Any, __: Any) -> Any:
        if _X86:
            _call(b, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return types.void(), write


@instruction
def give_way(_context: Any) -> Any:
    """Offer the core to another thread."""

    def write(context: Any, b: ir.IRBuilder, _: Any, __: Any) -> Any:
        if os.name == "posix":
            _call(b, "sched_yield", ir.IntType(32))
        return context.get_dummy_value()

    return types.void(), write


@compiled
def wait(team: Team, member: int, count: int) -> None:
    """Wait until a member has counted so far."""
    looks = 0
    while look(team.board, member) < count:
        looks += 1
        if looks < _PATIENCE:
            pause()
        else:
            give_way()
    if looks >= _PATIENCE and team.number == 0:
        team.board[0, _STALLS] += 1


@compiled
def share(blocks: int, team: Team) -> tuple[int, int]:
    """Return a member's first block, and that after its last."""
    more = team.size - 1
    return (blocks * team.number + more) // team.size, (blocks * (team.number + 1) + more) // team.size


@compiled
def meet(count: int, team: Team) -> int:
    """Wait until everyone is here: what any member wrote before, all may read after. Return the next count."""
    if team.size > 1:
        tell(team.board, team.number, count)
        for other in range(team.size):
            wait(team, other, count)
    return count + 1


@compiled
def gathered(team: Team) -> bool:
    """Whether all helpers have come."""
    here = 1
    while here < team.size and look(team.board, here) >= _ARRIVED:
        here += 1
    return here == team.size


@compiled
def begin(count: int, team: Team) -> int:
    """Begin a step, which helpers wait for; return the next count, or OVER."""
    if team.number:
        wait(team, 0, count)
        if look(team.board, 0) == OVER:
            return OVER
    elif team.size > 1:
        tell(team.board, 0, count)
    return count + 1


@compiled
def arrive(team: Team) -> int:
    """Come together; return the next count, or OVER for whom the leader did not wait."""
    tell(team.board, team.number, _ARRIVED)
    return begin(_ARRIVED, team)


@compiled
def end(count: int, team: Team) -> int:
    """End a step, for which the leader waits; return the next count."""
    if team.number:
        tell(team.board, team.number, count)
    for helper in range(1, team.size if team.number == 0 else 1):
        wait(team, helper, count)
    return count + 1


@compiled
def stalled(team: Team) -> bool:
    """Whether the leader had to wait so long that a member must have lost its core."""
    return team.board[0, _STALLS] > 0


@compiled
def dismiss(team: Team) -> None:
    """Let helpers go, those too who are yet to come."""
    tell(team.board, 0, OVER)
