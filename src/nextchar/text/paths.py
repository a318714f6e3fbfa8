"""Paths as people write them."""

from pathlib import Path

STDIN = ("-", "/dev/stdin")


def expand(path: str | Path) -> Path:
    """Return a path with its ~ or ~USER put in full; one of a user who is not there stays as it is, and is not found."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
