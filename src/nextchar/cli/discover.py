"""`nextchar discover`: a model and a text in; which unit follows what, and how sure that is, out."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, TextError

SHOWN = 24  # columns of the name of a feature
READ = 10_000  # characters that the inspection's page shows


def command(
    model: Path,
    /,
    *texts: str,
    features: str = "auto",
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("discovered"),
    length: Annotated[int, Parameter(name=["--length", "-n"])] = 200_000,
    shifts: int = 200,
    rotations: int = 20,
    steered: int = 3,
    no_causal: Flag = False,
    births: Flag = False,
    seed: int = 0,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    json: Flag = False,
) -> int:
    """Find which unit follows what, and test whether that is so.

    Every unit is held against every feature of the text: quotes, brackets,
    comments, the column, the indentation and some sixty more. The best unit
    is chosen on one half of the text, scored on the other, and compared with
    what chance, an untrained network, the last few characters and random
    directions would give; then it is ablated, patched and steered. Writes
    claims.json, discover.html and inspect.html into a folder.

        nextchar discover runs/kernel linux.c -o found
        nextchar discover runs/kernel linux.c --features my.toml --no-causal
        nextchar discover runs/kernel linux.c --births

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    features
        auto, general, prose, c, python, latex or wiki; or a .toml or .py file with features of your own.
    output
        The folder to write into.
    length
        Characters read, the last of the text: where a run keeps what it was not trained on.
    shifts
        Circular shifts of the features against the units.
    rotations
        Random rotations of each layer.
    steered
        How many of the strongest claims are steered.
    no_causal
        Do not ablate, patch and steer.
    births
        Also follow the claims over the checkpoints that `train --keep-checkpoints` kept.
    seed
        Everything random follows from it; the same seed gives the same claims.json.
    unknown
        What to do with characters that the model has never seen: skip leaves them out and says so.
    encoding
        Encoding of the texts.
    json
        Print one JSON object on standard output.
    """
    from nextchar.discovery.claims import Search  # noqa: PLC0415  as above
    from nextchar.discovery.emergence import births_of, checkpoints  # noqa: PLC0415  torch takes long to import
    from nextchar.discovery.page import page  # noqa: PLC0415  as above
    from nextchar.discovery.pipeline import claims_of  # noqa: PLC0415  as above
    from nextchar.discovery.search import look  # noqa: PLC0415  as above
    from nextchar.inspection.report import report  # noqa: PLC0415  as above
    from nextchar.storage import read_model, to_language_model, write_text  # noqa: PLC0415  as above
    from nextchar.text.corpus import read_ids  # noqa: PLC0415  as above

    if not texts:
        raise TextError("no text was given; name a file, a folder, or - for standard input")
    if length < 1:
        raise ConfigError(f"{length} characters are to be read, but it must be 1 or more")
    search = Search(shifts=shifts, rotations=rotations, steered=steered, causal=not no_causal, seed=seed)
    kept = checkpoints(model) if births else []
    output.mkdir(parents=True, exist_ok=True)  # before the minutes are spent
    file = read_model(model)
    ids, left_out = read_ids(texts, file.vocabulary, encoding=encoding, unknown=unknown)
    say = stderr().print
    if left_out:
        say(f"left out {left_out:,} characters that the model has never seen")
    lm = to_language_model(file)
    found = look(lm, ids[-length:], features, search, say=say)
    claims = claims_of(found, features, say=say)
    curves = births_of(kept, found, claims, say=say) if kept else {}
    claims.save(output / "claims.json")
    title = f"{model.name}: {', '.join(Path(text).name for text in texts)}"
    units = list(dict.fromkeys(claim.unit for claim in claims.claims))
    write_text(
        output / "inspect.html", report(lm, ids[-length:][-READ:], units=units, shown=READ, title=title)
    )
    whole = page(claims, found, title=title, births=curves, inspected="inspect.html")
    write_text(output / "discover.html", whole)
    if json:
        print_json({"folder": str(output), **claims.as_dict(), "births": curves})
    else:
        _show(claims)
    say(f"{output}: claims.json, and discover.html to open in a browser")
    return 0


def _show(claims: Any) -> None:
    """Print a line for each feature, found or not."""
    for claim in claims.claims:
        (layer, unit), strength = claim.unit, claim.evidence["strength"]
        line = (
            f"{claim.verdict:<12} {claim.feature:<{SHOWN}} {layer}:{unit:<5} {strength:6.3f}  {claim.because}"
        )
        print(line.rstrip())  # noqa: T201  data
    if claims.dropped:
        stderr().print(f"too rare to be judged: {', '.join(claims.dropped)}")
