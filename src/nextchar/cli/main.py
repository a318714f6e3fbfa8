"""The `nextchar` command: finds the subcommand, runs it, and turns every error into one sentence and an exit code."""

import atexit
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import nextchar
from nextchar.cli.console import LITERAL, handle_signals, prepare_streams, transient
from nextchar.cli.help import console, show_panel
from nextchar.errors import ConfigError, NextcharError
from nextchar.text.display import visible
from nextchar.training import launch

# Of each command: its usage, and what it does.
COMMANDS = {
    "demo": ("[-o DIR] [--minutes M]", "Train on the standard library and sample, in 3 minutes."),
    "train": ("TEXT... [-o DIR] [--minutes M | --epochs E | --steps S]", "Train a model on texts."),
    "sample": ("MODEL [-p TEXT] [-n 500] [-t 1.0] [OPTIONS]", "Generate text with a model."),
    "evaluate": ("MODEL [TEXT...] [--split PART] [OPTIONS]", "Score a text with a model, in bits per character."),
    "inspect": ("MODEL TEXT... [-o FILE] [OPTIONS]", "Show a model's activations while it reads a text."),
    "discover": ("MODEL TEXT... [-o DIR] [OPTIONS]", "Find units that track features of a text, and test them."),
    "structure": ("MODEL|SAMPLES --as DOMAIN [OPTIONS]", "Check the structure of samples with real parsers."),
    "serve": ("[MODEL...] [--host H] [--port P] [OPTIONS]", "Serve models over HTTP, and a page to train on."),
    "export": ("MODEL OUT [--weights KIND] [--text FILE...] [--json]", "Write a model in the form of other programs."),
    "push": (
        "MODEL USER/NAME [--licence L] [--dry-run] [OPTIONS]",
        "Send a model to the Hugging Face Hub, with a card.",
    ),
    "import": ("WEIGHTS [--vocabulary FILE] -o MODEL", "Make a model of weights that were trained in PyTorch."),
    "corpora": ("[get NAME] [--json]", "List the named corpora, or get one."),
    "info": ("MODEL [--json]", "Show what a model file contains."),
    "bench": ("[OPTIONS]", "Measure the speed of this machine."),
}
LONG = ("train", "sample", "evaluate", "inspect", "discover", "structure")  # whose --help leaves out options
HELP_FLAGS = ("--help", "-h", "--help-all")
HELP = """A character-level LSTM: it trains on any text, then writes text of that kind.

Start here:

    nextchar demo                                    3 minutes, needs no text
    nextchar train book.txt --minutes 5              learn from a text of yours
    nextchar sample runs/book -p "It was " -n 500    write text of that kind
    nextchar inspect runs/book book.txt              see what its neurons do
    nextchar discover runs/book book.txt             find what they follow

Data goes to standard output, everything else to standard error. MODEL is a
run folder, a model file or hf://USER/NAME; - is standard input. Exit codes:
0 success, 1 an error (explained in one sentence), 2 wrong usage, 130
interrupted.
"""
# How torch and numpy say that memory is short.
NO_MEMORY = ("can't allocate", "out of memory", "array is too big", "maximum allowed dimension")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with handle_signals(_interrupt, "SIGINT"):
        try:
            prepare_streams()
            if given[:1] in (["train"], ["demo"]) and not {*HELP_FLAGS} & {*given} and not launch.is_silent():
                transient("starting ...")
            code = run(given)
            if sys.stdout:
                sys.stdout.flush()
        except KeyboardInterrupt:
            _say("interrupted")
            code = 130
        except (BrokenPipeError, SystemExit):
            code = 0  # the reader of standard output has closed it; rich turns the former into the latter
        except (NextcharError, OSError, MemoryError, ArithmeticError, RuntimeError, ValueError) as error:
            code = 0 if _is_broken_pipe(error) else _fail(_explain(error))
        _drop_unwritable()
    return code


def entry() -> NoReturn:
    """Run the command line of this process and exit at once: taking apart an interpreter with torch takes a second."""
    code = main()
    atexit._run_exitfuncs()  # noqa: SLF001  what Python itself calls
    _drop_unwritable()
    os._exit(code)


def run(given: list[str]) -> int:
    """Parse a command line and call its command; errors are raised."""
    from cyclopts import App, CycloptsError, Parameter  # noqa: PLC0415  `import nextchar` must not pay for it

    from nextchar.cli.flags import DEFAULTS, respell  # noqa: PLC0415  as above

    if not given:
        start = HELP.partition("Data goes")[0]
        print(f"{start}nextchar --help lists all commands, nextchar COMMAND --help their options.")  # noqa: T201  data
        return 0
    if given[0] == "help":
        given = [*given[1:], "--help"]
    everything = "--help-all" in given or given[0] not in LONG
    app = App(
        name="nextchar",
        help=HELP,
        usage="Usage: nextchar COMMAND ...",
        version=nextchar.__version__,
        help_format="plaintext",
        help_flags=HELP_FLAGS,
        help_formatter=partial(show_panel, everything),
        help_epilogue=None if everything else f"All options: nextchar {given[0]} --help-all",
        console=console() if {*HELP_FLAGS} & {*given} else None,
        # One value for each flag, as in `train --suffix .c FOLDER`; if that fails, all that follow: `bench --only a b`.
        default_parameter=Parameter.combine(DEFAULTS, Parameter(consume_multiple=False)),
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `main` reports it
    )
    # Only the requested command is imported, so that `nextchar --help` starts fast.
    for place, (name, (usage, line)) in enumerate(COMMANDS.items()):
        room = f"nextchar.cli.{name}"
        if given[0] == name:
            command = import_module(room).command
            # A terminal of any width breaks a paragraph anew; examples keep their lines.
            about = re.sub(r"(?<=\S)\n(?=\S)", " ", cleandoc(command.__doc__ or "").partition("\nParameters\n")[0])
            app.command(command, name=name, usage=f"Usage: nextchar {name} {usage}", help=about)
        else:
            app.command(f"{room}:command", name=name, help=line, sort_key=place)

    def flags(command: str) -> set[str]:
        arguments = app[command].assemble_argument_collection(parse_docstring=False) if command in COMMANDS else ()
        return {name for argument in arguments for name in argument.names}

    words = list(respell(given, partial(flags, given[0])))
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        app.default_parameter = DEFAULTS
        try:
            command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        except CycloptsError:
            return _usage(error, given, flags)
    named = {name: _unmark(value) for name, value in bound.kwargs.items()}
    result = command(*map(_unmark, bound.args), **named)
    return result if isinstance(result, int) else 0


def _unmark(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_unmark, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _unmark(getattr(value, each.name)) for each in fields(value)})
    if isinstance(value, str | Path) and str(value).startswith(LITERAL):
        return type(value)(str(value)[len(LITERAL) :])
    return value


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, or exit at once while a module is imported: some libraries catch everything there.

    The second Ctrl-C ends the process without cleaning up.
    """
    signal.signal(number, signal.SIG_DFL)
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _say("interrupted")
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


def _usage(error: Exception, given: list[str], flags: Callable[[str], set[str]]) -> int:
    """Explain a wrong command line: 1 for an invalid value, such as a size of 0, 2 for one that cannot be parsed."""
    cause: Any = error.__cause__
    if isinstance(cause, ConfigError):
        return _fail(f"{getattr(getattr(error, 'argument', None), 'name', '')} {cause}".removeprefix("* "))
    if type(cause).__name__ == "ValidationError":
        from nextchar.config import explain  # noqa: PLC0415  only errors need it

        code = _fail(explain(cause))
        return 2 if cause.errors()[0]["type"].endswith(("_parsing", "literal_error")) else code
    from nextchar.cli import mistakes  # noqa: PLC0415  only errors need it

    said = mistakes.answer(error, given[0], flags, COMMANDS)
    words = f"nextchar {given[0]} --help" if given[0] in COMMANDS else "nextchar --help"
    _say((said if "\n" in said else f"{said} (see {words})").replace(LITERAL, ""))
    return 2


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return 1


def _say(message: str) -> None:
    if launch.is_silent():
        return
    with suppress(OSError):  # standard error may be closed
        print(f"nextchar: {visible(message)}", file=sys.stderr, flush=True)  # noqa: T201  talk


def _is_broken_pipe(error: Exception) -> bool:
    """Return whether a write to a closed pipe failed, which Windows reports as an invalid argument without a file."""
    return isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None


def _drop_unwritable() -> None:
    """Discard output that can no longer be written; Python would report it when it exits."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(error: Exception) -> str:
    """Put an error into one sentence; raise it again if it is a bug of ours."""
    if isinstance(error, NextcharError):
        return str(error)
    words = str(error).lower()
    if isinstance(error, MemoryError) or any(each in words for each in NO_MEMORY):
        return "there is not enough memory; take a smaller model, batch size, sequence length or count"
    if isinstance(error, OverflowError):
        return f"a number is too large ({error}); take a smaller one"
    if not isinstance(error, OSError):
        raise error
    where = f" {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return (
            f"there is no space left on the device to write{where}; free some, or write elsewhere (-o, NEXTCHAR_CACHE)"
        )
    return f"{(error.strerror or str(error)).lower()}{':' + where if where else ''}"


if __name__ == "__main__":
    entry()
