"""`nextchar demo`: train on the standard library of this Python for a short time, then sample."""

from pathlib import Path
from typing import Annotated

from nextchar.cli.console import shell_command, stderr
from nextchar.cli.flags import OUTPUT
from nextchar.config import Config


def command(*, minutes: float = 1.5, output: Annotated[Path, OUTPUT] = Path("runs/demo")) -> int:
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
    from nextchar.cli import train  # noqa: PLC0415  its options take long to build
    from nextchar.cli.main import run  # noqa: PLC0415  it imports this file

    console, config = stderr(), Config(minutes=minutes)
    words = ("train", "stdlib", "--minutes", f"{minutes:g}", "--overwrite", "-o", output)
    console.print(f"$ {shell_command('nextchar', *words)}")
    if code := train.command("stdlib", output=output, overwrite=True, options=config, hints=False):
        return code
    sample = ("sample", str(output), "-p", "def ", "-n", "400", "-t", "0.7", "--seed", "1")
    console.print(f"\n$ {shell_command('nextchar', *sample)}")
    if code := run(list(sample)):
        return code
    console.print()
    train.show_next(console, output, ["stdlib"], config)
    console.print("or train on a text of your own:\n  nextchar train YOUR_TEXT.txt")
    return 0
