"""`nextchar structure`: how well-formed and how new the samples of a model are, beside real text and n-grams."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.errors import ConfigError, TextError
from nextchar.text.hub import is_hub

if TYPE_CHECKING:
    from nextchar.parsing.report import Structure
    from nextchar.storage import ModelFile


def command(
    source: Path,
    /,
    *,
    domain: Annotated[Literal["abc", "c", "drama", "latex", "python", "wikitext"], Parameter(name=["--as"])],
    count: Annotated[int, Parameter(alias=["--num-samples"])] = 100,
    length: Annotated[int | None, Parameter(name=["--length", "-n"], alias=["--max-new-tokens"])] = None,
    temperature: Annotated[float, Parameter(name=["--temperature", "-t"])] = 1.0,
    seed: int = 0,
    against: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    ngram: int = 8,
    encoding: str = "utf-8",
    sweep: Path | None = None,
    keep: Path | None = None,
    json: Flag = False,
) -> int:
    """Check the structure of samples with real parsers.

    Reports how many functions, fragments, tunes or speeches in samples are
    well-formed and how much of them was copied, with 95 % intervals, beside
    real text and samples of an n-gram table.

        nextchar structure runs/linux --as c --temperature 0.8
        nextchar structure samples.txt --as python --against stdlib
        nextchar structure runs/tunes --as abc --keep tunes
        nextchar structure runs/tunes --as abc --sweep tunes.svg

    Parameters
    ----------
    source
        A run folder or a model file; or samples: the output of `nextchar sample`, with or without --json, or any text, which is cut into samples.
    domain
        The domain of the samples.
    count
        Number of samples to generate.
    length
        Characters of each sample. Default: 3000; 5000 for wikitext.
    temperature
        Sampling temperature of the model and of the n-gram table.
    seed
        Random seed of sampling.
    against
        Real text to compare with, in place of the text of the run: files, folders, or names of `nextchar corpora`. The first 90 % count as training text, the rest as real text.
    ngram
        Order of the n-gram table to compare with; 0 for none.
    encoding
        Encoding of the texts.
    sweep
        Generate samples at temperatures from 0.1 to 1.6 instead, and write a figure to this SVG file.
    keep
        Write every piece into this folder: as text, and as MIDI, WAV or PDF if the program for it is installed.
    json
        Print one JSON object on standard output.
    """
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.parsing.compare import Reference, compare, compare_temperatures, export_pieces  # noqa: PLC0415  torch takes long to import
    from nextchar.parsing.report import get_domain  # noqa: PLC0415  numpy takes long to import
    from nextchar.parsing.sweep import SampleRequest  # noqa: PLC0415  as above

    known = get_domain(domain)
    size = known.length if length is None else length
    request = SampleRequest(count=count, length=size, temperature=temperature, seed=seed)
    if sweep and keep:
        raise ConfigError("both --sweep and --keep were given; give one of them")
    model = _model(source)
    samples = [] if model else _samples(source, size)
    reference: Reference | None = None
    if against:
        reference = Reference.of_texts(against, encoding)
    elif model:
        reference = Reference.of_run(model, source)
    say = stderr().print
    report_compiling()
    if sweep:
        if model is None or reference is None:
            raise ConfigError("--sweep was given with samples; it needs a model")
        must_be_writable(sweep)
        values, reports = compare_temperatures(model, domain, reference, request, sweep, say)
    else:
        if keep:
            must_be_writable(keep / "0000.txt")
        texts, reports = compare(model or samples, domain, reference, request, ngram=ngram, on_progress=say)
        if keep:
            for folder, pieces in export_pieces(texts, domain, keep).items():
                say(f"{folder}: {pieces:,} {known.piece}")
        found = {name: report.as_dict() for name, report in reports.items()}
        values = {"domain": domain, "temperature": temperature, "texts": found}
    print_json(values) if json else _show(reports)
    return 0


def _model(source: Path) -> "ModelFile | None":
    """Return the model of a run folder or a model file; None for a file of samples."""
    from nextchar.storage import read_model  # noqa: PLC0415  numpy takes long to import

    model = source.is_dir() or source.suffix == ".safetensors" or is_hub(source)
    return read_model(source) if model else None


def _samples(source: Path, length: int) -> list[str]:
    """Read samples; one long text is cut into samples, because intervals need several."""
    from nextchar.parsing.compare import cut_samples  # noqa: PLC0415  torch takes long to import

    try:
        text = source.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise TextError(f"the samples in {source} are not UTF-8: {error.reason} at offset {error.start}") from None
    samples = samples_of(text)
    return cut_samples(text, len(text), length) if len(samples) == 1 and len(text) > 2 * length else samples


def samples_of(text: str) -> list[str]:
    """Return the samples in the output of `nextchar sample`, with or without `--json`; any other text is one sample."""
    from nextchar.cli.sample import RULE  # noqa: PLC0415  only this function needs it

    try:
        output = json_module.loads(text)
        samples = [output["prompt"] + each["text"] for each in output["samples"]]
    except (ValueError, TypeError, KeyError):
        samples = text.split(RULE)
    if not any(samples):
        raise TextError("there is no sample to check")
    return samples


def _show(reports: "dict[str, Structure]") -> None:
    """Print a table with a row for each measure and a column for each text."""
    from rich.console import Console  # noqa: PLC0415  it takes long to import
    from rich.table import Table  # noqa: PLC0415  as above

    from nextchar.parsing.report import shown  # noqa: PLC0415  numpy takes long to import

    columns = [{measure.name: measure for measure in report.measures} for report in reports.values()]
    table = Table(box=None, pad_edge=False)
    for name in ("", *reports):
        table.add_column(name, justify="right" if name else "left")
    for name in dict.fromkeys(name for column in columns for name in column):
        cells = [column.get(name) for column in columns]
        texts = [
            f"{shown(cell.value)}  [dim]{shown(cell.low)} to {shown(cell.high)}[/]" if cell else "" for cell in cells
        ]
        table.add_row(f"{name}, {next(cell.unit for cell in cells if cell)}", *texts)
    longest = [str(report.longest_copy or "-") for report in reports.values()]
    table.add_row("longest substring copied, chars", *longest)
    console = Console(highlight=False)
    # A table in a file is as wide as it needs to be.
    console.print(table) if console.is_terminal else Console(highlight=False, width=200).print(table)
    for line in dict.fromkeys(line for report in reports.values() for line in report.skipped):
        stderr().print(line)
