"""Work on many lanes shared out to the machine's cores: compiled code lets go of the interpreter, so threads suffice."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache


@cache
def available_cores() -> int:
    """Return how many cores this process may use; `OMP_NUM_THREADS` limits them, as it does for torch."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(there, int(asked))) if asked.isdecimal() else there


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that help the one that asks; all cores but its own, and at least one."""
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="nextchar")


# A forked child has the pool but none of its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)


class _Place(threading.local):
    """Where a thread is: whether what it does is a share already, which is not cut again."""

    in_share = False


_place = _Place()


def split_range(count: int, multiple: int) -> list[tuple[int, int]]:
    """Cut `count` into one share a core, each but the last a multiple of `multiple`: pairs of first and after last."""
    groups = -(-count // multiple)
    each = -(-groups // (1 if _place.in_share else available_cores())) * multiple
    return [(first, min(first + each, count)) for first in range(0, count, each)]


def parallel_for(function: Callable[[int, int], None], count: int, multiple: int) -> None:
    """Call `function(first, after last)` for every share at once, the first in this thread."""
    mine, *others = split_range(count, multiple)
    if not others:
        function(*mine)
        return
    waiting = [pool().submit(_do, function, share) for share in others]
    try:
        _do(function, mine)
        for other in waiting:
            other.result()
    except BaseException:
        wait(waiting)  # they write into what whoever catches this may use again
        raise


def _do(function: Callable[[int, int], None], share: tuple[int, int]) -> None:
    """Do a share."""
    _place.in_share = True
    try:
        function(*share)
    finally:
        _place.in_share = False
