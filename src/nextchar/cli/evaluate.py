"""`nextchar evaluate`: score a text with a model."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable


def command(
    model: Path,
    /,
    *texts: str,
    split: Literal["train", "valid", "test"] | None = None,
    protocol: Literal["stream", "windows"] = "stream",
    window: int = 256,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    ngram: int | None = None,
    per_char: Path | None = None,
    dynamic: Flag = False,
    others: Annotated[tuple[Path, ...], Parameter(name="--with", show_default=False)] = (),
    errors: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
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
    split
        Which part of the training text to score instead.
    protocol
        stream reads in order and carries the state; windows cuts the text and starts each window from the empty state.
    window
        Characters of a window.
    unknown
        What to do with characters that are not in the vocabulary: skip scores the rest and reports their number.
    encoding
        Encoding of the texts.
    ngram
        Also score with an n-gram table of this order (1 to 20), counted on the training part.
    per_char
        Write the surprisal of every character to a CSV file.
    dynamic
        Also score by dynamic evaluation: the model learns from every few characters after they are scored.
    others
        Average the probabilities of MODEL and of these models of the same vocabulary.
    errors
        Also classify errors, and show the probability of closing brackets by distance.
    device
        Where to compute; auto is cuda if there is one, else cpu.
    json
        Print one JSON object on standard output.
    """
    from nextchar.evaluation.report import EvaluationOptions, evaluate_files  # noqa: PLC0415  torch takes long

    options = EvaluationOptions(
        split=split,
        protocol=protocol,
        window=window,
        unknown=unknown,
        encoding=encoding,
        ngram=ngram,
        per_char=per_char,
        dynamic=dynamic,
        errors=errors,
        device=device,
    )
    if per_char:
        must_be_writable(per_char)
    console = stderr()
    result = evaluate_files(
        (model, *others), texts, options, lambda message: console.print(message, style="dim")
    )
    name = result.pop("text")
    if json:
        print_json(result)
    else:
        _show(name, result, per_char)
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
