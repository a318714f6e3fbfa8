"""Answers to a command line that cannot be parsed: what is wrong, and the nearest thing that exists."""

import time
import tomllib
from collections.abc import Callable, Collection
from importlib.resources import files
from pathlib import Path
from typing import Any

from nextchar.cli.console import shell_command
from nextchar.errors import NextcharError, did_you_mean

RUNS = 10  # that are listed
ANSWERS = tomllib.loads((files("nextchar.cli") / "assets" / "answers.toml").read_text(encoding="utf-8"))
MORE_WORDS = {"evaluate": ["--split", "valid"], "inspect": ["TEXT"], "discover": ["TEXT"], "structure": ["--as", "c"]}


def answer(error: Any, command: str, flags: Callable[[str], set[str]], commands: Collection[str]) -> str:
    """Return what to say of a command line that cannot be parsed.

    Args:
        error: The parser's.
        command: The first word.
        flags: Returns the flags of a command.
        commands: All commands.
    """
    name = getattr(error.argument, "name", "")
    if type(error).__name__ == "UnknownOptionError":
        return unknown_option(error.token.keyword or error.token.value, command, flags)
    if type(error).__name__ == "MissingArgumentError":
        return missing_model(command) if name in ("MODEL", "SOURCE") else f"{error.keyword or name} needs a value"
    if type(error).__name__ == "RepeatArgumentError":
        return f"{error.token.keyword} is given more than once"
    if command not in commands:
        return unknown_command(command, commands)
    word = "".join((error.unused_tokens or [])[:1])
    prompt = f"; a prompt is given with -p: -p '{word}'" if command == "sample" else ""
    return f"unexpected argument '{word}'{prompt}" if word else str(error).strip().rstrip(".")


def unknown_command(word: str, commands: Collection[str]) -> str:
    """Return what to say of a word that should be a command."""
    path = Path(word)
    if (path / "model.safetensors").exists() or path.suffix == ".safetensors":
        return f"{word} is a model, not a command; try: {shell_command('nextchar', 'sample', word)}"
    if path.exists() or path.suffix:
        return f"{word} is a text, not a command; try: {shell_command('nextchar', 'train', word)}"
    near = (
        f"; did you mean '{ANSWERS['commands'][word]}'?"
        if word in ANSWERS["commands"]
        else did_you_mean(word, commands)
    )
    return f"there is no command '{word}'{near or '; there is ' + ', '.join(commands)}"


def unknown_option(flag: str, command: str, flags: Callable[[str], set[str]]) -> str:
    """Return what to say of a flag that a command does not have.

    Args:
        flag: As it was given.
        command: The command.
        flags: Returns the flags of a command.
    """
    name, _, _ = flag.partition("=")
    bare = name.lstrip("-").replace("_", "-")
    others = [other for other in ("train", "sample", "evaluate") if f"--{bare}" in flags(other)]
    elsewhere = f"it is an option of `nextchar {others[0]}`" if others else ""
    known = next((instead for names, instead in ANSWERS["flags"].items() if bare in names.split()), elsewhere)
    return f"there is no option {name}" + (f"; {known}" if known else did_you_mean(name, flags(command)))


def missing_model(command: str) -> str:
    """Return what to say if no model was given: the runs in runs/, newest first, and the command for the newest."""
    need = f"{command} needs a MODEL, a run folder or a model file"
    models = sorted(Path("runs").glob("*/model.safetensors"), key=lambda file: file.stat().st_mtime, reverse=True)
    rows = list(filter(None, map(_row, models[:RUNS])))
    if not rows:
        return f"{need}, and runs/ holds none; train one: `nextchar demo`, or `nextchar train book.txt`"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    copied = shell_command("nextchar", command, rows[0][0], *MORE_WORDS.get(command, []))
    return "\n  ".join([f"{need}. In runs/:", *lines]) + f"\nTry:\n  {copied}"


def _row(file: Path) -> list[str]:
    """Return the name of a run, its score, its shape and its age; nothing if its file cannot be read."""
    from nextchar.storage import read_metadata  # noqa: PLC0415  numpy takes long to import

    try:
        metadata = read_metadata(file)
        shape, valid = metadata["architecture"], metadata["provenance"].get("valid")
        minutes = max(0.0, time.time() - file.stat().st_mtime) / 60
        score = f"{valid['bits_per_char']:.2f} bits/char" if valid else ""
        size = f"{shape['cell']} {shape['layers']}x{shape['hidden']}"
    except (NextcharError, OSError, LookupError, AttributeError, TypeError, ValueError):
        return []
    step, unit = (1440, "d") if minutes >= 2880 else (60, "h") if minutes >= 120 else (1, "min")
    return [str(file.parent), score, size, f"{minutes / step:.0f} {unit} ago"]
