"""`nextchar demo`: train on the standard library of this Python for a short time, then sample."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from nextchar.cli.console import shell_command, stderr


def command(
    *, minutes: float = 1.5, output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("runs/demo")
) -> int:
    """Train on the standard library of this Python, then generate code.

    Needs no text and no network. The commands that it runs are shown.

        nextchar demo
        nextchar demo --minutes 5

    Parameters
    ----------
    minutes
        How long to train.
    output
        The run folder. A run that it holds is overwritten.
    """
    from nextchar.cli.main import run  # noqa: PLC0415  it imports this file

    say = stderr().print
    for words in (
        ("train", "stdlib", "--minutes", f"{minutes:g}", "--overwrite", "-o", str(output)),
        ("sample", str(output), "-p", "def ", "-n", "400", "-t", "0.7", "--seed", "1"),
    ):
        say(f"$ {shell_command('nextchar', *words)}")
        if code := run(list(words)):
            return code
        say()
    say("Next:")
    for line in (
        shell_command("nextchar", "sample", output, "-p", "class ", "-n", 1000),
        shell_command("nextchar", "train", "--resume", output, "--minutes", 5),
        "nextchar train YOUR_TEXT.txt",
    ):
        say(f"  {line}")
    return 0
