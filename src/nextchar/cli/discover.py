"""`nextchar discover`: find which unit follows which feature of a text, and how certain that is."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag

NAME_COLUMNS = 24


def command(
    model: Path,
    /,
    *texts: str,
    features: str = "auto",
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("discovered"),
    last_chars: Annotated[int, Parameter(name=["--last-chars", "-n"])] = 200_000,
    shifts: int = 200,
    rotations: int = 20,
    steered: int = 3,
    no_causal: Flag = False,
    emergence: Flag = False,
    seed: int = 0,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    json: Flag = False,
    length: Annotated[int | None, Parameter(show=False)] = None,
    births: Annotated[Flag, Parameter(show=False)] = False,
) -> int:
    """Find which unit follows which feature of a text, and test it.

    Scores every unit on some seventy features: quotes, brackets, comments,
    column, indentation. The best unit of a feature is chosen on one half of
    the text, scored on the other, and compared with chance, untrained
    networks, tables of the last characters, and random directions; then it
    is ablated, patched and steered. Writes claims.json, discover.html and
    inspect.html into a folder.

        nextchar discover runs/kernel linux.c -o found
        nextchar discover runs/kernel linux.c --features my.toml --no-causal
        nextchar discover runs/kernel linux.c --emergence

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    features
        auto, general, prose, c, python, latex or wiki; or a .toml or .py file with your own.
    output
        The folder to write into.
    last_chars
        Characters to read, at the end of the text: a run keeps that part out of training.
    shifts
        Circular shifts of the text against the units.
    rotations
        Random rotations of each layer.
    steered
        How many of the strongest claims to steer.
    no_causal
        Do not ablate, patch and steer.
    emergence
        Also follow the claims over the checkpoints of `train --keep-checkpoints`.
    seed
        Seed of everything random; the same seed gives the same claims.json.
    unknown
        Characters that the model does not know: error, or skip to leave them out.
    encoding
        Encoding of the texts.
    json
        Print one JSON object on standard output.
    """
    from nextchar.discovery.claims import Search  # noqa: PLC0415  importing torch takes long
    from nextchar.discovery.folder import Job, discover_into  # noqa: PLC0415  as above

    job = Job(
        model=model,
        texts=texts,
        features=features,
        search=Search(shifts=shifts, rotations=rotations, steered=steered, causal=not no_causal, seed=seed),
        last_chars=last_chars if length is None else length,
        checkpoints=emergence or births,
        unknown=unknown,
        encoding=encoding,
    )
    say = stderr().print
    claims, curves = discover_into(output, job, say)
    if json:
        print_json({"folder": str(output), **claims.as_dict(), "births": curves})
    else:
        _show(claims)
    say(f"{output}: claims.json, and discover.html to open in a browser")
    return 0


def _show(claims: Any) -> None:
    """Print a line for each feature, found or not."""
    for claim in claims.claims:
        (layer, unit), strength = claim.unit, claim.evidence.strength
        line = f"{claim.verdict:<12} {claim.feature:<{NAME_COLUMNS}} {layer}:{unit:<5} {strength:6.3f}  {claim.because}"
        print(line.rstrip())  # noqa: T201  data
    if claims.dropped:
        stderr().print(f"too rare to judge: {', '.join(claims.dropped)}")
