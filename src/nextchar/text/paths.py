"""Paths and names of texts as users write them."""

import os
from collections.abc import Sequence
from pathlib import Path

from nextchar.errors import ConfigError, TextError

STDIN = ("-", "/dev/stdin")
"""Names of standard input. "/dev/stdin" is compared as a word; it need not exist."""

LOCK_PLACE = 1 << 30  # of the locked byte, beyond what is in the file: on Windows no other process can read it

Text = str | os.PathLike[str]
"""A file, a folder, a glob, "-" for standard input, the name of a corpus, or an address on the Hub."""


def expand(path: Text) -> Path:
    """Return a path with ~ or ~USER replaced by the home folder; the path as it is if there is no such user.

    Raises:
        ConfigError: It is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"a file is named by a str or a path, but {type(path).__name__} was given")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def as_list(names: Text | Sequence[Text]) -> list[str]:
    """Return names as a list of strings; a single name becomes a list of one, not of its characters.

    Raises:
        TextError: A name is neither a str nor a path.

    Example:
        >>> as_list("book.txt"), as_list((Path("a"), "b"))
        (['book.txt'], ['a', 'b'])
    """
    several: Sequence[Text] = [names] if isinstance(names, str | os.PathLike) else names
    try:
        return [os.fspath(name) for name in several]
    except TypeError:
        raise TextError(f"a text is named by a str or a path, but {type(names).__name__} was given") from None


def try_lock(descriptor: int) -> bool:
    """Lock an open file, without waiting; return False if another process has locked it."""
    try:
        import fcntl  # noqa: PLC0415  not on Windows
    except ImportError:
        import msvcrt  # noqa: PLC0415  only on Windows

        os.lseek(descriptor, LOCK_PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True
