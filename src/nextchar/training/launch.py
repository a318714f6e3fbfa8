"""What torchrun says to each process that it starts: which one it is, of how many. Imports nothing that is slow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextchar.training.ranks import Ranks

_joined = False


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


def world() -> int:
    """Return how many processes train together; 1 if torchrun did not start this one."""
    return max(1, _number("WORLD_SIZE", 1)) if "MASTER_ADDR" in os.environ else 1


def rank() -> int:
    """Return the number of this process among them."""
    return _number("RANK", 0) if world() > 1 else 0


def attempt() -> int:
    """Return how often torchrun has started this training again, because a process failed."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0) if world() > 1 else 0


def may_restart() -> bool:
    """Return whether torchrun will start this training again if a process fails."""
    return world() > 1 and _number("TORCHELASTIC_MAX_RESTARTS", 0) > 0


def is_silent() -> bool:
    """Return whether another process says the same: all of them make the same mistake before they are connected."""
    return rank() > 0 and not _joined


@contextmanager
def joined() -> Iterator["Ranks | None"]:
    """Connect to the other processes of torchrun for the `with` block; None where there are no others.

    An error ends all of them. It is raised in the process that is the first to report one; others exit with 1.
    """
    global _joined  # noqa: PLW0603  one connection per process
    if world() == 1:
        yield None
        return
    from nextchar.training.ranks import connect  # noqa: PLC0415  torch takes long to import

    ranks = connect()
    _joined = True
    try:
        yield ranks
    except BaseException:
        if not ranks.reports_first():
            sys.stdout.flush()
            os._exit(1)
        raise
    ranks.leave()
