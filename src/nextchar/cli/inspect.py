"""`nextchar inspect`: show what a model computes while it reads a text."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import ReadingProgress, print_json, stderr
from nextchar.cli.flags import OUTPUT, Flag, must_be_writable
from nextchar.errors import ConfigError, ModelFileError, TextError
from nextchar.text.display import visible

if TYPE_CHECKING:
    from rich.console import Console

    from nextchar.inspection.strip import Strip


def command(
    model: Path,
    /,
    *texts: str,
    output: Annotated[Path | None, OUTPUT] = None,
    terminal: Flag = False,
    gates: Flag = False,
    timeline: Flag = False,
    neurons: Annotated[str | None, Parameter(alias="--units")] = None,
    claims: Path | None = None,
    signal: str | None = None,
    chars: Annotated[int | None, Parameter(alias=["--length", "-n"])] = None,
    all: Flag = False,
    predictions: Flag = False,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Flag = False,
) -> int:
    """Show what a model computes while it reads a text.

    Writes one HTML file that needs no network: the text coloured by one neuron
    at a time. Neurons that know quotes, brackets, lines, words, numbers or
    comments come first, named in words; then those that matter most. It also
    shows their gates, the guesses at each character, and how far back these
    depend on the text.

        nextchar inspect runs/shakespeare hamlet.txt -o hamlet.html
        nextchar inspect runs/shakespeare hamlet.txt --terminal
        nextchar inspect runs/shakespeare hamlet.txt -o quote.svg --neurons 0:3
        nextchar inspect runs/shakespeare hamlet.txt --gates
        nextchar inspect runs/shakespeare --timeline -o learning.html

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    output
        The file to write, by its ending: .html a page (the default is inspect.html), .svg or .png the text coloured by
        one neuron, .npz or .safetensors all values.
    terminal
        Show the text coloured by the first neurons in the terminal instead.
    gates
        Show the saturation of the gates of each layer instead, in a table.
    timeline
        Show the samples that a run kept during training, each with its loss, instead; with -o as a page.
    neurons
        LAYER:UNIT,... both counted from 0; by default 40 in a page, 3 in the terminal, 1 in a picture: those that can be
        named, then those that matter most.
    claims
        The folder of nextchar discover, or its claims.json: its findings come first, with their names, in place of a new search.
    signal
        What colours the terminal or a picture: i, f, g, o, c, tanh_c or h of an lstm, r, z, n or h of a gru; tanh_c, or h, by default.
    chars
        Characters to read, from the beginning: 30000 by default; shown in the terminal or a picture: 400.
    all
        Read the whole text. A page shows 30000 characters of it.
    predictions
        Show the likeliest next characters below each line in the terminal or a picture.
    unknown
        What to do with characters that are not in the vocabulary: skip leaves them out and reports their number.
    encoding
        Encoding of the texts.
    device
        Where to compute; auto is cuda if there is one, else cpu.
    json
        Print one JSON object on standard output.
    """
    _check(output, texts, {"--terminal": terminal, "--gates": gates, "--timeline": timeline})
    picture = output is not None and output.suffix.lower() in (".svg", ".png")
    if signal and not (terminal or picture):
        raise ConfigError(f"--signal {signal} colours a strip; give --terminal, or -o with a .svg or .png")
    if output:
        must_be_writable(output)
    if timeline:
        return _timeline(model, output, json)
    if not texts:
        raise TextError("no text was given; name a file, a folder, - for standard input, or --timeline")
    console = _announce(model)
    from nextchar.inspection.files import FileInspection  # noqa: PLC0415  torch takes long to import
    from nextchar.inspection.gates import gate_table  # noqa: PLC0415  as above
    from nextchar.inspection.trace import ignore  # noqa: PLC0415  as above

    progress = ReadingProgress(console)
    inspection = FileInspection(
        model=model,
        texts=texts,
        on_message=console.print,
        on_progress=progress if console.is_terminal else ignore,
        neurons=neurons,
        claims=claims,
        signal=signal,
        chars=chars,
        everything=all,
        predictions=predictions,
        unknown=unknown,
        encoding=encoding,
        device=device,
    )
    with closing(progress):
        if gates:
            result = inspection.gates()
        elif terminal:
            strips = inspection.strips()
            result = _values(strips, len(inspection.ids))
        else:
            result = inspection.write(output or Path("inspect.html"))
    if json:
        print_json(result)
    elif gates:
        print(gate_table(result["gates"]))  # noqa: T201  data
    elif terminal:
        _show_strips(strips)
    return 0


def _announce(model: Path) -> "Console":
    """Return the console for messages; a terminal shows at once that something happens, because torch takes long."""
    console = stderr()
    if console.is_terminal:
        console.print(f"loading {model} ...")
    return console


def _check(output: Path | None, texts: tuple[str, ...], views: dict[str, bool]) -> None:
    """Refuse options that exclude each other, and an ending that cannot be written."""
    given = [name for name, value in views.items() if value]
    timeline = views["--timeline"]
    if output and given and not timeline:
        given.insert(0, "-o")
    if timeline and texts:
        given.append("a text")
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} were given; give one of them")
    endings = (".html",) if timeline else (".html", ".svg", ".png", ".npz", ".safetensors")
    if output and output.suffix.lower() not in endings:
        raise ConfigError(f"the output is '{output}', but its name must end in {' or '.join(endings)}")


def _show_strips(strips: "list[Strip]") -> None:
    """Print strips."""
    from rich.console import Console  # noqa: PLC0415  only strips need it

    console = Console(highlight=False)
    for each in strips:
        console.print(each.text(console.width))
        console.print()


def _values(strips: "list[Strip]", chars: int) -> dict[str, Any]:
    """Return what strips show, for JSON."""
    values = {f"{each.layer}:{each.unit}": each.values.tolist() for each in strips}
    about = {f"{each.layer}:{each.unit}": each.about for each in strips}
    return {"chars": chars, "shown": len(strips[0].seen), "signal": strips[0].signal, "about": about, "units": values}


def _timeline(folder: Path, output: Path | None, json: bool) -> int:
    """Show the samples of a run, each with the losses known when it was generated."""
    from nextchar.inspection.timeline import LOSSES, timeline, timeline_page  # noqa: PLC0415  torch takes long
    from nextchar.storage import LOG, read_log, write_text  # noqa: PLC0415  as above

    entries = read_log(folder / LOG)
    if not entries:
        raise ModelFileError(f"{folder} holds no run: it has no {LOG}")
    samples = timeline(entries)
    if output:
        write_text(output, timeline_page(entries, folder.name))
        stderr().print(f"{output}: {len(samples)} samples; open it in a browser")
    if json:
        print_json({"timeline": samples})
    for sample in () if json or output else samples:
        losses = [f"{name.split('_')[0]} {sample[name]:.3f} bits/char" for name in LOSSES if name in sample]
        title = ", ".join([f"step {sample['step']:,}", *losses])
        print(f"── {title} ──\n{visible(sample['text'])}\n")  # noqa: T201  data
    return 0
