"""`nextchar evaluate`: score a text with a model."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.evaluation.options import EvaluationOptions

DEFAULT = EvaluationOptions()


def command(
    model: Path,
    /,
    *texts: str,
    options: Annotated[EvaluationOptions, Parameter(name="*", negative="")] = DEFAULT,
    others: Annotated[tuple[Path, ...], Parameter(name="--with", show_default=False)] = (),
    json: Flag = False,
) -> int:
    """Score a text with a model: every character once, in bits.

    Without a text, a part of the training text is scored: the test part if
    the run kept one, else the validation part.

        nextchar evaluate runs/shakespeare --split valid
        nextchar evaluate runs/shakespeare other.txt --per-char surprisal.csv
        nextchar evaluate runs/shakespeare --split test --ngram 8
        nextchar evaluate runs/shakespeare --with runs/another --dynamic

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    others
        Average the probabilities of MODEL and of these models of the same vocabulary.
    json
        Print one JSON object on standard output.
    """
    from nextchar.evaluation.report import evaluate_files  # noqa: PLC0415  torch takes long to import

    if options.per_char:
        must_be_writable(options.per_char)
    console = stderr()
    say = partial(console.print, style="dim")
    result = evaluate_files((model, *others), texts, options, say)
    name = result.pop("text")
    if json:
        print_json(result)
    else:
        _show(name, result, options.per_char)
    return 0


def _show(name: str, result: dict[str, Any], per_char: Path | None) -> None:
    """Print the scores on standard output, what they are of on standard error."""
    from nextchar.evaluation.errors import closing_table, error_table  # noqa: PLC0415  numpy takes long to import

    console = stderr()
    console.print(f"{name}: {result['chars']:,} characters, {result['bytes']:,} bytes")
    if skipped := result.get("skipped"):
        console.print(f"skipped {skipped:,} characters that are not in the vocabulary")
    settings = result.get("adaptation", [])
    for how in settings if isinstance(settings, list) else [settings]:
        console.print(
            f"learning rate {how['learning_rate']:g}, decay {how['decay']:g}, epsilon {how['epsilon']:g}, "
            f"segments of {how['segment']}"
        )
    rows = [(row["protocol"], row) for row in (result, result.get("static"), result.get("ngram")) if row]
    # The first half, on which the settings were chosen, is no test of them.
    rows += [(f"{row['protocol']}, second half", row) for row in (result.get("held_out") or {}).values()]
    width = max(10, *(len(label) + 2 for label, _ in rows))
    for label, row in rows:
        print(  # noqa: T201  data on standard output
            f"{label:<{width}}{row['bits_per_char']:.4f} bits/char  {row['bits_per_byte']:.4f} bits/byte  "
            f"{row['nats_per_char']:.4f} nats/char"
        )
    if "errors" in result:
        print(error_table(result["errors"], result["chars"]))  # noqa: T201  data on standard output
        print(closing_table(result["closing"]), end="")  # noqa: T201  as above
    if per_char:
        console.print(f"the surprisal of every character is in {per_char}")
