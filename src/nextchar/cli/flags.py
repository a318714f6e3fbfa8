"""What commands share: rules for all parameters, names of flags, exit codes, and the check of an output path."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, field, fields, is_dataclass, make_dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

from cyclopts import Parameter

from nextchar.cli.console import LITERAL
from nextchar.errors import ConfigError
from nextchar.text.hub import is_hub

INTERRUPTED = 130
LIMIT = 2**63  # compiled code and file formats hold 64-bit integers

Flag = Annotated[bool, Parameter(negative="")]
"""A switch that is off by default."""
PROMPTS = ("--prompt", "-p", "--start", "--start-text", "--prefix", "--prime", "--primetext")
PROMPT = Parameter(name=PROMPTS)
OUTPUT = Parameter(name=("--output", "-o", "--out", "--out-dir", "--output-dir", "--checkpoint-dir"))
TEXT_OPTIONS = (*PROMPTS, "--stop", "--stop-strings")


def spelled(aliases: str) -> list[str]:
    """Return names as flags, with their dashes.

    Example:
        >>> spelled("m max-epochs")
        ['-m', '--max-epochs']
    """
    return ["-" * min(len(name), 2) + name for name in aliases.split()]


def flags_of(kind: type, **changed: Any) -> Any:
    """Return a dataclass of options as a subclass whose fields are flags.

    Args:
        kind: The metadata of a field may have other flags of the same meaning, as "alias", or False as "flag" if it
            has no flag. A field that holds a dataclass stands for the fields of that one.
        changed: Defaults on the command line that are not those in Python.
    """
    made = []
    for each in fields(kind):
        hint, parsed = each.type, each.metadata.get("flag", True)
        parameter = Parameter(alias=spelled(each.metadata.get("alias", "")), parse=parsed)
        default = {"default": changed.get(each.name, each.default)}
        if isinstance(each.type, type) and is_dataclass(each.type):
            hint = flags_of(each.type)
            parameter, default = Parameter(name="*"), {"default_factory": hint}
        made.append((each.name, Annotated[hint, parameter], field(**default)))
    place = {"__module__": kind.__module__}  # without it the parser takes the class for a built-in one
    return make_dataclass(kind.__name__, made, bases=(kind,), frozen=True, kw_only=True, namespace=place)


def respell(given: list[str], names: Callable[[], Collection[str]]) -> Iterator[str]:
    """Yield the words of a command line with every flag as it is declared.

    --batch_size is --batch-size, and -batch_size, as in char-rnn, too. A flag is repeated before each of several values
    after it that can be no text to read. - (standard input) is marked, and so is any value of a text option, which the
    parser would take for an option.

    Args:
        given: The words.
        names: Returns the flags of the command; called only if they are needed.
    """
    before = owner = ""
    for place, word in enumerate(given):
        name, equals, value = word.partition("=")
        dashed = name.replace("_", "-")
        if before == "--":
            yield from given[place:]
            return
        if word == "-" or (before in TEXT_OPTIONS and word.startswith("-")):
            name = LITERAL + name
        elif name[:2] == "--":
            name = dashed
        elif name[:1] == "-" and name[1:2].isalpha() and len(name) > 2 and f"-{dashed}" in names():
            name = f"-{dashed}"
        if owner and before != owner:
            owner = owner if _belongs(owner, word) else ""
            yield from filter(None, [owner])
        owner = name if name in ("--suffix", "--with") else owner
        before = "" if equals else name
        yield name + equals + value


def _belongs(flag: str, word: str) -> bool:
    """Return whether a word is one more value of a flag, not a text."""
    if flag == "--with":
        return word.endswith(".safetensors") or is_hub(word) or (Path(word) / "model.safetensors").exists()
    return word.startswith(".") and word.isprintable() and not {"/", "\\"} & set(word) and not Path(word).exists()


def _shown_default(value: Any) -> Any:
    """Return a default as help shows it; None for one that says nothing, such as "not given" or an empty list."""
    if value is None or value is False or value == ():
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _fits(_kind: Any, value: Any) -> None:
    """Check the integer of one flag, or those of a dataclass of flags."""
    given = {"": value}
    if is_dataclass(value) and not isinstance(value, type):
        given = {f"--{name} ": each for name, each in asdict(value).items()}
    for flag, number in given.items():
        if isinstance(number, int) and not -LIMIT <= number < LIMIT:
            raise ConfigError(f"{flag}is {number}, but must be between -2^63 and 2^63 - 1")


DEFAULTS = Parameter(
    negative_iterable="",
    consume_multiple=(1, None),  # a list option takes one or more values, and may be repeated
    show_default=_shown_default,
    validator=_fits,
)
"""The rules for every parameter of every command."""


def must_be_writable(path: Path) -> None:
    """Check that a file can be written, before the work whose result it is to hold; make its folder.

    Raises:
        ConfigError: The path is a folder or a device, which must not be replaced by a file.
        OSError: Its folder cannot be made or written into.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a file to write to; name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=path.parent):
        pass
