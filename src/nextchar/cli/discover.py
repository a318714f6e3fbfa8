"""`nextchar discover`: find which neuron follows which feature of a text, and how certain that is."""

import sys
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import OUTPUT, Flag, flags_of
from nextchar.discovery.options import DiscoverOptions as Declared

if TYPE_CHECKING:
    from nextchar.discovery.claims import Claims

DiscoverOptions: Any = flags_of(Declared)
DEFAULT = DiscoverOptions()
TABLE = "All {} features: verdict, feature, neuron, strength (0 to 1)"
NAME_COLUMNS, INDENT = 24, " " * 13


def command(
    model: Path,
    /,
    *texts: str,
    options: Annotated[DiscoverOptions, Parameter(name="*", negative="")] = DEFAULT,
    output: Annotated[Path, OUTPUT] = Path("discovered"),
    last_chars: Annotated[int, Parameter(name=["--last-chars", "-n"], alias=["--length", "--chars"])] = 200_000,
    json: Flag = False,
) -> int:
    """Find what a network noticed by itself: which neuron follows what.

    Compares every neuron with some seventy features of a text: quotes,
    brackets, comments, position in the line. What it finds is said in words
    and drawn on a page, discover.html. Each neuron is chosen on one half of
    the text, scored on the other, and compared with chance, untrained
    networks, tables of the last characters, and random directions; then it
    is held: ablated, patched and steered. All numbers are in claims.json.

        nextchar discover runs/kernel linux.c -o found
        nextchar discover runs/kernel linux.c --features my.toml --no-causal
        nextchar discover runs/kernel linux.c --emergence

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    output
        The folder to write into.
    last_chars
        Characters to read, at the end of the text: a run keeps that part out of training.
    json
        Print one JSON object on standard output.
    """
    from nextchar.discovery.folder import discover_into  # noqa: PLC0415  importing torch takes long

    say = stderr().print
    claims, curves = discover_into(output, model, texts, options, last_chars, say)
    if json:
        print_json({"folder": str(output), **claims.as_dict(), "births": curves})
    else:
        _show(claims)
    say(f"{output}: claims.json, and discover.html to open in a browser")
    return 0


def _show(claims: "Claims") -> None:
    """Print the findings in words, then a line for each feature, found or not."""
    width = get_terminal_size().columns if sys.stdout.isatty() else 0
    print(f"{claims.in_words(width or 80)}\n\n{TABLE.format(len(claims.claims))}\n")  # noqa: T201  data
    for claim in claims.claims:
        (layer, unit), strength = claim.unit, claim.evidence.strength
        line = f"{claim.verdict:<12} {claim.feature:<{NAME_COLUMNS}} {layer}:{unit:<5} {strength:6.3f}"
        # In a file or a pipe, every feature has exactly one line.
        print(fill(f"{line}  {claim.because}", width or 10_000, subsequent_indent=INDENT))  # noqa: T201  data
    if claims.dropped:
        stderr().print(f"too rare to judge: {', '.join(claims.dropped)}")
