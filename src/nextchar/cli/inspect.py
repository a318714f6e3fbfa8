"""`nextchar inspect`: a model and a text in; a page, or a coloured strip in the terminal, out."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr, visible
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, ModelFileError, TextError

IN_PAGE, IN_TERMINAL = 20_000, 400


def command(
    model: Path,
    /,
    *texts: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    terminal: Flag = False,
    timeline: Flag = False,
    units: str | None = None,
    length: Annotated[int | None, Parameter(name=["--length", "-n"])] = None,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Flag = False,
) -> int:
    """Look inside a model while it reads a text.

    Writes one HTML file that needs no network: the text coloured by one unit
    at a time, beneath each character the likeliest next ones, the strongest
    and weakest places of every unit, and how often the gates are saturated.

        nextchar inspect runs/shakespeare hamlet.txt -o hamlet.html
        nextchar inspect runs/shakespeare hamlet.txt --terminal --units 0:3,1:17
        nextchar inspect runs/shakespeare --timeline

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    output
        The page to write; inspect.html by default.
    terminal
        Show strips in the terminal instead.
    timeline
        Show the samples a run kept while it learned, each with its loss, instead.
    units
        LAYER:UNIT,... both counted from 0; by default the 64 that vary most (in the terminal, 1).
    length
        Characters shown, from the beginning: 20000 by default, 400 in the terminal.
    unknown
        What to do with characters that the model has never seen: skip leaves them out and says so.
    encoding
        Encoding of the texts.
    device
        Where to compute.
    json
        Print one JSON object on standard output.
    """
    if output and (terminal or timeline):
        raise ConfigError(f"-o and --{'terminal' if terminal else 'timeline'} were given; give one of them")
    if timeline:
        if texts or terminal:
            raise ConfigError("--timeline was given with a text or --terminal; give one of them")
        return _timeline(model, json)
    lm, ids = _read(model, texts, unknown, encoding, device)
    title = f"{model.name}: {', '.join(Path(text).name for text in texts)}"
    result = (
        _in_terminal(lm, ids, units, IN_TERMINAL if length is None else length, json)
        if terminal
        else _in_page(
            lm, ids, units, IN_PAGE if length is None else length, output or Path("inspect.html"), title
        )
    )
    if json:
        print_json(result)
    return 0


def _read(
    model: Path, texts: tuple[str, ...], unknown: Literal["error", "skip"], encoding: str, device: str
) -> tuple[Any, Any]:
    """Read the model and the text as its ids."""
    from nextchar.device import pick_device  # noqa: PLC0415  torch takes long to import
    from nextchar.storage import read_model, to_language_model  # noqa: PLC0415  as above
    from nextchar.text.corpus import read_ids  # noqa: PLC0415  as above

    if not texts:
        raise TextError("no text was given; name a file, a folder, - for standard input, or --timeline")
    file = read_model(model)
    ids, left_out = read_ids(texts, file.vocabulary, encoding=encoding, unknown=unknown)
    if left_out:
        stderr().print(f"left out {left_out:,} characters that the model has never seen")
    return to_language_model(file, pick_device(device)), ids


def _in_page(lm: Any, ids: Any, units: str | None, length: int, path: Path, title: str) -> dict[str, Any]:
    """Write the page; return what `--json` prints."""
    from nextchar.inspection.report import parse_units, report  # noqa: PLC0415  torch takes long to import
    from nextchar.storage import write_text  # noqa: PLC0415  as above

    page = report(lm, ids, units=parse_units(units) if units else (), shown=length, title=title)
    write_text(path, page)
    stderr().print(f"{path}: {len(ids):,} characters; open it in a browser")
    return {"page": str(path), "chars": len(ids), "shown": min(length, len(ids)), "bytes": len(page.encode())}


def _in_terminal(lm: Any, ids: Any, units: str | None, length: int, json: bool) -> dict[str, Any]:
    """Show a strip of each unit; return what `--json` prints."""
    from rich.console import Console  # noqa: PLC0415  only this needs it

    from nextchar.inspection.report import parse_units  # noqa: PLC0415  torch takes long to import
    from nextchar.inspection.strip import strip  # noqa: PLC0415  as above
    from nextchar.inspection.summary import most_varied, summarize  # noqa: PLC0415  as above
    from nextchar.inspection.trace import pieces  # noqa: PLC0415  as above

    if length < 1:
        raise ConfigError(f"{length} characters are to be shown, but it must be 1 or more")
    chosen = parse_units(units) if units else most_varied(summarize(pieces(lm, ids)), 1)
    strips = [strip(lm, ids[:length], layer, unit) for layer, unit in chosen]
    console = Console(highlight=False)
    for each in () if json else strips:
        console.print(each.text(console.width))
    values = {f"{each.layer}:{each.unit}": each.values.tolist() for each in strips}
    return {"chars": len(ids), "shown": min(length, len(ids)), "signal": strips[0].signal, "units": values}


def _timeline(folder: Path, json: bool) -> int:
    """Show the samples of a run, each with the losses that were known when it was written."""
    from nextchar.training.run import LOG, read_log  # noqa: PLC0415  torch takes long to import

    entries = read_log(folder / LOG)
    if not entries:
        raise ModelFileError(f"{folder} holds no run: it has no {LOG} to tell a timeline from")
    loss: dict[str, float] = {}
    samples = []
    for entry in entries:
        if entry["event"] == "progress":
            loss["training_bits_per_char"] = entry["loss"] / math.log(2)
        elif entry["event"] == "validated":
            loss["validation_bits_per_char"] = entry["score"]["bits_per_char"]
        elif entry["event"] == "sampled":
            samples.append({"step": entry["step"], **loss, "text": entry["text"]})
    if json:
        print_json({"timeline": samples})
        return 0
    for sample in samples:
        losses = [f"step {sample['step']:,}"]
        losses += [f"{name.split('_')[0]} {sample[name]:.3f} bits/char" for name in loss if name in sample]
        print(f"── {', '.join(losses)} ──\n{visible(sample['text'])}\n")  # noqa: T201  data
    return 0
