"""What a domain is: how a sample falls into pieces, and what of each sample is as it should be."""

import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from nextchar.errors import MissingExtraError

Unit = Literal["%", "per 1000 chars", "chars"]
SECONDS = 20.0  # a program that reads one piece for so long has failed on it


class Ratio(NamedTuple):
    """So much of so much: a share, a rate or a mean, which can be added up over samples.

    Attributes:
        part: What was counted.
        whole: Of how much.
        unit: How the quotient is shown.
        sound: Whether what was counted is as it should be, so that more is better.
    """

    part: float
    whole: float
    unit: Unit = "%"
    sound: bool = False


Tally = dict[str, Ratio]
"""What was counted in one sample, by the name of the measure."""


class Pieces(NamedTuple):
    """What a sample falls into.

    Attributes:
        whole: The pieces that begin and end within the sample.
        cut: How many more begin in it and do not end.
    """

    whole: list[str]
    cut: int


@dataclass(frozen=True, slots=True)
class Program:
    """A program beside Python that a check runs.

    Attributes:
        name: The command.
        package: What to install on Debian.
        use: What is left out without it.
    """

    name: str
    package: str
    use: str

    def there(self) -> bool:
        """Tell whether it is installed."""
        return shutil.which(self.name) is not None

    def missing(self) -> str:
        """Say what is left out, and the remedy."""
        return f"{self.name} is not installed: {self.use} is left out (apt install {self.package})"


def nothing(_text: str) -> None:
    """Learn nothing from the training text."""


def as_text(piece: str) -> dict[str, bytes]:
    """Return a piece as a text file."""
    return {".txt": piece.encode()}


@dataclass(frozen=True, slots=True)
class Domain:
    """One kind of text.

    Attributes:
        name: As in `--as`.
        piece: What its pieces are called, in the plural.
        headline: The measure that stands for all of them.
        pieces: Finds them in a sample, without regard to whether they are sound.
        check: Counts in one sample, given what was learnt.
        learn: Looks up in the training text what `check` wants to know of it.
        programs: What `check` runs where it is installed.
        export: Turns a piece into files, by suffix, to be looked at or listened to.
        length: Characters of a sample that hold some pieces.
    """

    name: str
    piece: str
    headline: str
    pieces: Callable[[str], Pieces]
    check: Callable[[str, Any], Tally]
    learn: Callable[[str], Any] = nothing
    programs: Sequence[Program] = ()
    export: Callable[[str], dict[str, bytes]] = as_text
    length: int = 3000


def share(pieces: Sequence[str], sound: Callable[[str], bool]) -> Ratio:
    """Return how many of the pieces are sound."""
    return Ratio(sum(map(sound, pieces)), len(pieces), sound=True)


def together(ratios: Sequence[Ratio]) -> Ratio:
    """Return shares of sound things as one."""
    return Ratio(sum(each.part for each in ratios), sum(each.whole for each in ratios), sound=True)


def extra(module: str) -> ModuleType:
    """Import a parser that comes with the extra `structure`.

    Raises:
        MissingExtraError: It is not installed; names the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{module} is not installed; it comes with: pip install 'nextchar[structure]'"
        ) from None


def run(words: Sequence[str], files: Mapping[str, str | bytes], made: str = "") -> tuple[int, str, bytes]:
    """Run a program in an empty folder of its own, without input, for at most 20 seconds.

    Args:
        words: The command line.
        files: Written into the folder before.
        made: A file to bring back.

    Returns:
        The exit code (-1 after too long), all it printed, and the bytes of the file made.
    """
    with tempfile.TemporaryDirectory(prefix="nextchar-") as folder:
        place = Path(folder)
        for name, content in files.items():
            whole = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
            (place / name).write_bytes(whole)
        try:
            done = subprocess.run(  # noqa: S603  a fixed command line; the text is in a file
                words,
                cwd=place,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, "", b""
        said = (done.stdout + done.stderr).decode(errors="replace")
        result = (place / made).read_bytes() if made and (place / made).exists() else b""
        return done.returncode, said, result
