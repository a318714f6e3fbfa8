"""What commands share: rules for all parameters, kinds of flags, exit codes, and the check of an output path."""

from dataclasses import asdict, is_dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

from cyclopts import Parameter

from nextchar.errors import ConfigError

INTERRUPTED = 130
LIMIT = 2**63  # compiled code and file formats hold 64-bit integers

Flag = Annotated[bool, Parameter(negative="")]
"""A switch that is off by default."""


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
