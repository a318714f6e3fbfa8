"""What a domain of text is: how a sample is cut into pieces, and what is counted in each sample."""

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
TIMEOUT = 20.0  # seconds a program may take for one piece before the piece counts as invalid


class Ratio(NamedTuple):
    """A share, a rate or a mean as numerator and denominator, so that it can be summed over samples.

    Attributes:
        part: Numerator.
        whole: Denominator.
        unit: How the quotient is shown.
        valid: Whether it is a share of valid structure, so that higher is better.
    """

    part: float
    whole: float
    unit: Unit = "%"
    valid: bool = False


Tally = dict[str, Ratio]
"""The ratios of one sample, by the name of the measure; the first one stands for the domain in figures."""


class Pieces(NamedTuple):
    """The pieces of a sample.

    Attributes:
        whole: The pieces that begin and end within the sample.
        cut: How many pieces begin in the sample and are cut off by its end.
    """

    whole: list[str]
    cut: int

    def cut_share(self) -> Ratio:
        """Return the share of pieces that are cut off by the end of the sample."""
        return Ratio(self.cut, self.cut + len(self.whole))


@dataclass(frozen=True, slots=True)
class Program:
    """An external program that a check runs if it is installed.

    Attributes:
        name: The command.
        package: The Debian package that provides it.
        use: What is skipped without it.
    """

    name: str
    package: str
    use: str

    def is_installed(self) -> bool:
        """Return whether the program is on the PATH."""
        return shutil.which(self.name) is not None

    def missing(self) -> str:
        """Return a sentence that names what is skipped and how to install the program."""
        return f"{self.name} is not installed: {self.use} is left out (apt install {self.package})"


def as_text(piece: str) -> dict[str, bytes]:
    """Return a piece as the content of a text file, by suffix."""
    return {".txt": piece.encode()}


@dataclass(frozen=True, slots=True)
class Domain:
    """One kind of text.

    Attributes:
        piece: What its pieces are called, plural.
        pieces: Finds the pieces of a sample by layout alone, valid or not.
        check: Counts the measures of one sample, given the result of `learn` or None.
        learn: Collects from the training text what `check` needs.
        programs: External programs that `check` runs if they are installed.
        export: Converts a piece to files, by suffix.
        length: Default length of a sample in characters, long enough for some pieces.
    """

    piece: str
    pieces: Callable[[str], Pieces]
    check: Callable[[str, Any], Tally]
    learn: Callable[[str], Any] = lambda _text: None
    programs: Sequence[Program] = ()
    export: Callable[[str], dict[str, bytes]] = as_text
    length: int = 3000


def share(pieces: Sequence[str], is_valid: Callable[[str], bool]) -> Ratio:
    """Return the share of pieces that are valid."""
    return Ratio(sum(map(is_valid, pieces)), len(pieces), valid=True)


def pooled(ratios: Sequence[Ratio]) -> Ratio:
    """Return several shares of valid structure as one share."""
    return Ratio(sum(each.part for each in ratios), sum(each.whole for each in ratios), valid=True)


def import_parser(module: str) -> ModuleType:
    """Import a parser of the extra `structure`.

    Raises:
        MissingExtraError: It is not installed; the message has the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{module} is not installed; it comes with: pip install 'nextchar[structure]'"
        ) from None


def run_program(words: Sequence[str], files: Mapping[str, str | bytes], output: str = "") -> tuple[int, str, bytes]:
    """Run a program in a temporary folder, without standard input, for at most `TIMEOUT` seconds.

    Args:
        words: The command line.
        files: Content of the files in the folder, by name.
        output: The name of a file that the program writes and whose content is returned.

    Returns:
        The exit code (-1 after a timeout), standard output and error as text, and the content of `output`
        (empty if it was not written).
    """
    with tempfile.TemporaryDirectory(prefix="nextchar-") as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
        try:
            done = subprocess.run(  # noqa: S603  a fixed command line; the text is in a file
                words,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, "", b""
        written = (folder / output).read_bytes() if output and (folder / output).exists() else b""
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace"), written
