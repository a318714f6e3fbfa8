"""Runs `nextchar train` in several processes as torchrun starts them, forked from the process of the tests."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from torch.distributed import TCPStore

from nextchar.cli.main import main
from nextchar.kernels import threads
from nextchar.training import ranks
from nextchar.training.trainer import Trainer

SECONDS = 120  # after which a process that hangs is ended by the system; on a quiet machine a test takes one or two


class Ended(NamedTuple):
    """How processes ended.

    Attributes:
        codes: Exit codes, or the negative number of the signal that ended the process.
        errors: What each wrote on standard error.
        outputs: What each wrote on standard output.
    """

    codes: list[int]
    errors: list[str]
    outputs: list[str]


def train(
    folder: Path,
    world: int,
    *words: object,
    at: dict[int, tuple[int, int]] | None = None,
    prepare: Callable[[int], object] = lambda _: None,
    **environment: str,
) -> Ended:
    """Run `nextchar train` with some words in `world` processes.

    Args:
        folder: For their output.
        world: How many; 1 is a process that torchrun did not start.
        *words: Of the command line.
        at: For some of them, by number: the step before which it sends itself a signal, and which one.
        prepare: Called in every process with its number.
        environment: More variables.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=SECONDS))
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        **environment,
    }
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking a process with threads is dangerous: the child starts its own
        for rank in range(world):
            own = {**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)} if world > 1 else environment
            child = os.fork()
            if not child:
                _run(folder / f"rank-{rank}", ["train", *map(str, words)], own, (at or {}).get(rank), prepare)
            children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    written = [
        [(folder / f"rank-{rank}.{end}").read_text(encoding="utf-8") for rank in range(world)] for end in ("err", "out")
    ]
    return Ended(codes, *written)


def _run(
    place: Path,
    words: Sequence[str],
    environment: dict[str, str],
    at: tuple[int, int] | None,
    prepare: Callable[[int], object],
) -> None:
    """Be one of the processes; never return."""
    code = 99
    with suppress(BaseException):
        signal.alarm(SECONDS)
        os.environ.update(environment)
        threads.available_cores.cache_clear()
        for stream, end in ((sys.stdout, "out"), (sys.stderr, "err")):
            file = os.open(place.with_suffix(f".{end}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1 if stream is sys.stdout else 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        ranks.BEAT_SECONDS, ranks.LOST_SECONDS = 0.1, 5.0
        _signal_before(at)
        prepare(int(environment.get("RANK", "0")))
        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _signal_before(at: tuple[int, int] | None) -> None:
    """Send this process a signal before a step."""
    advance = Trainer._advance

    def patched(trainer: Any) -> None:
        if at and trainer.step == at[0]:
            os.kill(os.getpid(), at[1])
        advance(trainer)

    Trainer._advance = patched  # type: ignore[method-assign]
