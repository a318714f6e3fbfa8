"""Splits work among the cores with a pool of threads: compiled code and torch release the interpreter's lock."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nextchar.kernels.cores import count_cores


@cache
def available_cores() -> int:
    """Return how many threads should compute at the same time; `OMP_NUM_THREADS` sets it, as it does for torch."""
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1") if "MASTER_ADDR" in os.environ else "1"  # torchrun sets both
    return count_cores(Path("/"), os.environ.get("OMP_NUM_THREADS", ""), max(1, int(processes)))


@cache
def pool() -> ThreadPoolExecutor:
    """Return the threads that work beside the calling one: a thread for each other core, and at least one."""
    return ThreadPoolExecutor(max(1, available_cores() - 1), thread_name_prefix="nextchar")


# A forked process inherits the pool object but none of its threads: it creates a pool of its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)


class _Context(threading.local):
    """Whether this thread works on a range of `parallel_for`, inside of which nothing is split again."""

    in_range = False


_context = _Context()


def split_range(count: int, multiple: int) -> list[tuple[int, int]]:
    """Split `range(count)` into one range for each core, as `(first, after last)`.

    Args:
        count: The length of the whole range.
        multiple: The length of each range but the last is a multiple of this.
    """
    groups = -(-count // multiple)
    size = -(-groups // (1 if _context.in_range else available_cores())) * multiple
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def parallel_for(function: Callable[[int, int], None], count: int, multiple: int) -> None:
    """Call `function(first, after last)` for each range of `split_range` at the same time, the first in this thread.

    Returns, or raises the first error, when all calls have ended.
    """
    own, *others = split_range(count, multiple)
    if not others:
        function(*own)
        return
    futures = [pool().submit(_run, function, part) for part in others]
    try:
        _run(function, own)
        for future in futures:
            future.result()
    except BaseException:
        wait(futures)  # they still use arrays that the caller may use again after the error
        raise


def _run(function: Callable[[int, int], None], part: tuple[int, int]) -> None:
    """Call a function for one range."""
    with undivided():
        function(*part)


@contextmanager
def undivided() -> Iterator[None]:
    """Keep the work of this thread in this thread: `parallel_for` splits nothing."""
    before, _context.in_range = _context.in_range, True
    try:
        yield
    finally:
        _context.in_range = before
