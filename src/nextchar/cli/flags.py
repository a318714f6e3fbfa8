"""What commands share: kinds of flags, the exit code of an interrupted one, and the test of a file to be written."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated

from cyclopts import Parameter

from nextchar.errors import ConfigError

INTERRUPTED = 130

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch that is off unless it is given."""


def must_be_writable(path: Path) -> None:
    """Refuse a path that no file can be written to before the work for it is done; make the folder it is to lie in.

    Raises:
        ConfigError: It is a folder or a device, in whose place a file would be put.
        OSError: Its folder cannot be made or written into.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"{path} is not a file to write to; name another")
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=path.parent):
        pass
