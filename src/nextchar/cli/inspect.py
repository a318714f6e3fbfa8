"""`nextchar inspect`: a model and a text in; a page, a coloured strip, a table of gates, or all the numbers, out."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr, visible
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.errors import ConfigError, ModelFileError, TextError

IN_PAGE, IN_STRIP, UNITS = 20_000, 400, 64
PICTURES, NUMBERS = (".svg", ".png"), (".npz", ".safetensors")  # what -o can be beside a page
HEAD = ("layer", "gate", "left", "right", "always left", "always right", "τ gate", "τ course", "agreement")


def command(
    model: Path,
    /,
    *texts: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    terminal: Flag = False,
    gates: Flag = False,
    timeline: Flag = False,
    units: str | None = None,
    signal: str | None = None,
    length: Annotated[int | None, Parameter(name=["--length", "-n"])] = None,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Flag = False,
) -> int:
    """Look inside a model while it reads a text.

    Writes one HTML file that needs no network: the text coloured by one unit
    at a time, beneath each character the likeliest next ones, a page for each
    unit, saturation and timescales of all, and how far back predictions reach.

        nextchar inspect runs/shakespeare hamlet.txt -o hamlet.html
        nextchar inspect runs/shakespeare hamlet.txt -o quote.svg --units 0:3
        nextchar inspect runs/shakespeare hamlet.txt --terminal --units 0:3,1:17
        nextchar inspect runs/shakespeare hamlet.txt --gates
        nextchar inspect runs/shakespeare --timeline -o learning.html

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    output
        What to write, by its ending: .html the page (the default is inspect.html), .svg or .png the strip of one unit, .npz
        or .safetensors every number.
    terminal
        Show strips in the terminal instead.
    gates
        Show how saturated the gates of each layer are instead, in a table.
    timeline
        Show the samples a run kept while it learned, each with its loss, instead; with -o as a page.
    units
        LAYER:UNIT,... both counted from 0; by default the 64 that vary most (1 in a strip).
    signal
        What colours a strip: i, f, g, o, c, tanh_c or h of an lstm, r, z, n or h of a gru; tanh_c, or h, by default.
    length
        Characters shown, from the beginning: 20000 by default, 400 in a strip.
    unknown
        What to do with characters that the model has never seen: skip leaves them out and says so.
    encoding
        Encoding of the texts.
    device
        Where to compute.
    json
        Print one JSON object on standard output.
    """
    _check(output, length, texts, {"--terminal": terminal, "--gates": gates, "--timeline": timeline})
    kind = output.suffix.lower() if output else ".html"
    if signal and not terminal and kind not in PICTURES:
        raise ConfigError(f"--signal {signal} colours a strip; give --terminal, or -o with a .svg or .png")
    if output:
        must_be_writable(output)
    if timeline:
        return _timeline(model, output, json)
    lm, ids = _read(model, texts, unknown, encoding, device)
    if gates:
        return _gates(lm, ids, json)
    if terminal:
        result = _in_terminal(_strips(lm, ids, units, signal, length), len(ids), json)
    elif output and kind in PICTURES:
        result = _in_picture(_strips(lm, ids, units, signal, length), len(ids), output)
    elif output and kind in NUMBERS:
        result = _in_numbers(lm, ids, units, length or IN_PAGE, output)
    else:
        title = f"{model.name}: {', '.join(Path(text).name for text in texts)}"
        result = _in_page(lm, ids, units, length or IN_PAGE, output or Path("inspect.html"), title)
    if json:
        print_json(result)
    return 0


def _check(output: Path | None, length: int | None, texts: tuple[str, ...], ways: dict[str, bool]) -> None:
    """Refuse what cannot be had together, or at all."""
    given = [name for name, value in ways.items() if value]
    timeline = ways["--timeline"]
    if output and given and not timeline:
        given.insert(0, "-o")
    if timeline and texts:
        given.append("a text")
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} were given; give one of them")
    written = (".html",) if timeline else (".html", *PICTURES, *NUMBERS)
    if output and output.suffix.lower() not in written:
        raise ConfigError(f"'{output}' is to be written, but its name must end in {' or '.join(written)}")
    if length is not None and length < 1:
        raise ConfigError(f"{length} characters are to be shown, but it must be 1 or more")


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


def _chosen(lm: Any, ids: Any, units: str | None, count: int) -> list[tuple[int, int]]:
    """Return the units that were asked for, or those that vary most."""
    from nextchar.inspection.report import parse_units  # noqa: PLC0415  torch takes long to import
    from nextchar.inspection.summary import most_varied, summarize  # noqa: PLC0415  as above
    from nextchar.inspection.trace import pieces  # noqa: PLC0415  as above

    return parse_units(units) if units else most_varied(summarize(pieces(lm, ids)), count)


def _in_page(lm: Any, ids: Any, units: str | None, length: int, path: Path, title: str) -> dict[str, Any]:
    """Write the page; return what `--json` prints."""
    from nextchar.inspection.report import parse_units, report  # noqa: PLC0415  torch takes long to import
    from nextchar.storage import write_text  # noqa: PLC0415  as above

    page = report(lm, ids, units=parse_units(units) if units else (), shown=length, title=title)
    write_text(path, page)
    stderr().print(f"{path}: {len(ids):,} characters; open it in a browser")
    return {"page": str(path), "chars": len(ids), "shown": min(length, len(ids)), "bytes": len(page.encode())}


def _in_numbers(lm: Any, ids: Any, units: str | None, length: int, path: Path) -> dict[str, Any]:
    """Write the trace; return what `--json` prints."""
    from nextchar.inspection.trace import trace  # noqa: PLC0415  torch takes long to import

    by_layer: dict[int, list[int]] = {}
    for layer, unit in _chosen(lm, ids, units, UNITS):
        by_layer.setdefault(layer, []).append(unit)
    seen = trace(lm, ids[:length], units=by_layer)
    seen.save(path)
    stderr().print(f"{path}: {len(seen):,} characters, {sum(map(len, by_layer.values()))} units")
    return {"trace": str(path), "chars": len(ids), "shown": len(seen), "arrays": sorted(seen.arrays())}


def _strips(lm: Any, ids: Any, units: str | None, signal: str | None, length: int | None) -> list[Any]:
    """Return a strip of each unit."""
    from nextchar.inspection.strip import strip  # noqa: PLC0415  torch takes long to import

    text = ids[: length or IN_STRIP]
    return [strip(lm, text, *unit, signal=signal) for unit in _chosen(lm, ids, units, 1)]


def _in_picture(strips: list[Any], count: int, path: Path) -> dict[str, Any]:
    """Write the picture of one strip; return what `--json` prints."""
    if len(strips) > 1:
        raise ConfigError(
            f"{len(strips)} units were given, and a picture shows one; give --units one LAYER:UNIT"
        )
    (strip,) = strips
    strip.save(path)
    stderr().print(f"{path}: {strip.legend}")
    return {"picture": str(path), "chars": count, "shown": len(strip.seen), "legend": strip.legend}


def _in_terminal(strips: list[Any], count: int, json: bool) -> dict[str, Any]:
    """Show a strip of each unit; return what `--json` prints."""
    from rich.console import Console  # noqa: PLC0415  only this needs it

    console = Console(highlight=False)
    for each in () if json else strips:
        console.print(each.text(console.width))
    values = {f"{each.layer}:{each.unit}": each.values.tolist() for each in strips}
    return {"chars": count, "shown": len(strips[0].seen), "signal": strips[0].signal, "units": values}


def _gates(lm: Any, ids: Any, json: bool) -> int:
    """Show a line for each gate of each layer."""
    from nextchar.inspection.gates import gates  # noqa: PLC0415  torch takes long to import

    rows = gates(lm, ids)
    if json:
        print_json({"chars": len(ids), "gates": [row.as_dict() for row in rows]})
        return 0
    if not rows:
        raise ConfigError("a model of rnn cells has no gates")
    print(("{:<7}{:<6}" + "{:>13}" * 7).format(*HEAD))  # noqa: T201  data
    for row in rows:
        shares = "".join(
            f"{100 * share:>11.1f} %" for share in (row.left, row.right, row.always_left, row.always_right)
        )
        times = "".join(
            f"{'-' if time is None else f'{time:.1f}':>13}" for time in (row.timescale, row.course)
        )
        agreement = "-" if row.agreement is None else f"{row.agreement:.2f}"
        print(f"{row.layer:<7}{row.gate:<6}{shares}{times}{agreement:>13}")  # noqa: T201  data
    return 0


def _timeline(folder: Path, output: Path | None, json: bool) -> int:
    """Show the samples of a run, each with the losses that were known when it was written."""
    from nextchar.inspection.timeline import LOSSES, timeline, timeline_page  # noqa: PLC0415  torch takes long to import
    from nextchar.storage import write_text  # noqa: PLC0415  as above
    from nextchar.training.run import LOG, read_log  # noqa: PLC0415  as above

    entries = read_log(folder / LOG)
    if not entries:
        raise ModelFileError(f"{folder} holds no run: it has no {LOG} to tell a timeline from")
    samples = timeline(entries)
    if output:
        write_text(output, timeline_page(entries, folder.name))
        stderr().print(f"{output}: {len(samples)} samples; open it in a browser")
    if json:
        print_json({"timeline": samples})
    elif not output:
        for sample in samples:
            losses = [f"step {sample['step']:,}"]
            losses += [
                f"{name.split('_')[0]} {sample[name]:.3f} bits/char" for name in LOSSES if name in sample
            ]
            print(f"── {', '.join(losses)} ──\n{visible(sample['text'])}\n")  # noqa: T201  data
    return 0
