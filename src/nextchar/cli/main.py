"""The `nextchar` command: finds the subcommand, and turns every error into one sentence and an exit code."""

import errno
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import nextchar
from nextchar.errors import NextcharError

COMMANDS = {
    "train": "Learn from texts.",
    "sample": "Write text with a model.",
    "evaluate": "Score a text with a model, in bits per character.",
    "inspect": "Look inside a model while it reads a text.",
    "discover": "Find which unit follows what, and test it.",
    "structure": "Check the structure of samples with real parsers.",
    "corpora": "List the named corpora, or get one.",
    "info": "Tell what is in a model file.",
    "bench": "Measure the speed of this machine.",
}
HELP = """A small LSTM that reads any text character by character, and then writes
and scores text of that kind.

Start with a text of your own, or with one that every machine has:

    nextchar train stdlib --minutes 2 -o runs/python
    nextchar sample runs/python -p "def " -n 400
    nextchar evaluate runs/python --split test

Standard output is data; everything else goes to standard error. A model is a
run folder or a model file, and - is standard input. Exit codes: 0 done,
1 an error told in one sentence, 2 wrong usage, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        if sys.stdout:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        code = 130
    except (BrokenPipeError, SystemExit):
        code = 0  # whoever read our output has seen enough; rich makes the latter of the former
    except (NextcharError, OSError, MemoryError, RuntimeError) as error:
        code = _fail(_explain(error))
    _let_go()
    return code


def _run(given: list[str]) -> int:
    from cyclopts import App, CycloptsError, Parameter  # noqa: PLC0415  `import nextchar` must not pay for it

    app = App(
        name="nextchar",
        help=HELP,
        version=nextchar.__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative_iterable=""),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `main` tells of it
    )
    # Only the command that is asked for is imported, so that `nextchar --help` is instant.
    for name, line in COMMANDS.items():
        room = f"nextchar.cli.{name}"
        if given and given[0] == name:
            app.command(import_module(room).command, name=name)
        else:
            app.command(f"{room}:command", name=name, help=line)
    try:
        result = app(list(map(_with_stdin, ["", *given], given)), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _usage(error)
    return result if isinstance(result, int) else 0


def _with_stdin(before: str, word: str) -> str:
    """Name standard input where - stands for it, which cyclopts would take for an option; in a prompt or stop it is text."""
    if before in ("-p", "--prompt", "--stop"):
        return word
    return re.sub(r"^(--(?!(?:prompt|stop)=)[\w-]+=)?-\Z", r"\1/dev/stdin", word)


def _usage(error: Exception) -> int:
    """Tell a value that cannot be, such as a size of 0, from what is not understood, such as a size of x."""
    cause: Any = error.__cause__
    if type(cause).__name__ != "ValidationError":
        _say(f"{str(error).strip()} See nextchar --help.")
        return 2
    from nextchar.config import explain  # noqa: PLC0415  only errors need it

    code = _fail(explain(cause))
    return 2 if cause.errors()[0]["type"].endswith(("_parsing", "literal_error")) else code


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return 1


def _say(message: str) -> None:
    with suppress(OSError):  # there may be nobody left to hear it
        print(f"nextchar: {message}", file=sys.stderr)  # noqa: T201  this is the voice of the command


def _let_go() -> None:
    """Give up what cannot be written any more, of which Python would complain at its end."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(error: Exception) -> str:
    """Put an error into one sentence; what is our own fault is raised again."""
    if isinstance(error, NextcharError):
        return str(error)
    words = str(error).lower()
    if isinstance(error, MemoryError) or "can't allocate" in words or "out of memory" in words:
        return "the memory is not enough; make the model, the lanes or the window smaller"
    if not isinstance(error, OSError):
        raise error
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"there is no space left on the device to write{where}; free some, or write elsewhere (-o, NEXTCHAR_CACHE)"
    return f"{(error.strerror or str(error)).lower()}{':' + where if where else ''}"


if __name__ == "__main__":
    sys.exit(main())
