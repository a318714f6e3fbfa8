"""`nextchar structure`: a model, or samples, in; how well formed and how new they are out, beside real text."""

import json as json_module
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.errors import ConfigError, TextError

if TYPE_CHECKING:
    import numpy.typing as npt

    from nextchar.evaluation.novelty import Training
    from nextchar.parsing.report import Measure, Structure
    from nextchar.parsing.sweep import Writing
    from nextchar.storage import ModelFile
    from nextchar.text.vocabulary import Vocabulary

HELD_OUT = 0.1  # of a text named with --against


def command(
    source: Path,
    /,
    *,
    domain: Annotated[Literal["abc", "c", "drama", "latex", "python", "wikitext"], Parameter(name=["--as"])],
    count: int = 100,
    length: Annotated[int | None, Parameter(name=["--length", "-n"])] = None,
    temperature: Annotated[float, Parameter(name=["--temperature", "-t"])] = 1.0,
    seed: int = 0,
    against: tuple[str, ...] = (),
    ngram: int = 8,
    encoding: str = "utf-8",
    sweep: Path | None = None,
    keep: Path | None = None,
    json: Flag = False,
) -> int:
    """Check the structure of samples with real parsers, beside real text and n-grams.

    Tells, with 95 % intervals, how many of the functions, fragments, tunes or
    speeches in samples are well formed, and how much of them was copied.

        nextchar structure runs/linux --as c --temperature 0.8
        nextchar structure samples.txt --as python --against stdlib
        nextchar structure runs/tunes --as abc --keep tunes
        nextchar structure runs/tunes --as abc --sweep tunes.svg

    Parameters
    ----------
    source
        A run folder or a model file; or samples: what `nextchar sample` printed, with or without --json, or any text, which is cut into samples.
    domain
        What the samples are read as.
    count
        How many samples to write.
    length
        Characters of each. Default: some thousand, by domain.
    temperature
        Of writing, as in `nextchar sample`; the n-grams take the same, which for them is more than 0.
    seed
        Of writing.
    against
        Real text to stand beside, in place of the model's own: files, folders, or names of `nextchar corpora`. Nine tenths stand for what was learnt, the last for real text.
    ngram
        Order of the n-gram table that stands beside; 0 for none.
    encoding
        Encoding of the texts.
    sweep
        Write samples at temperatures from 0.1 to 1.6 instead, and draw this SVG.
    keep
        Write every piece into this folder: as text, and as MIDI, sound or PDF where a program for it is installed.
    json
        Print one JSON object on standard output.
    """
    from nextchar.evaluation.novelty import Training  # noqa: PLC0415  numpy takes a while to import
    from nextchar.parsing.report import get_domain, structure  # noqa: PLC0415  as above
    from nextchar.parsing.sweep import Writing  # noqa: PLC0415  as above

    size = get_domain(domain).length if length is None else length
    how = Writing(count=count, length=size, temperature=temperature, seed=seed)
    _refuse(how, {"--sweep": sweep, "--keep": keep})
    model, samples = _open(source, size)
    train, held_out, vocabulary = _texts(source, model, against, encoding)
    training = Training(text_of(vocabulary, train)) if vocabulary else None
    real = pieces_of(text_of(vocabulary, held_out), count, size) if vocabulary else []
    if sweep:
        if model is None or training is None:
            raise ConfigError(
                "--sweep was given with samples; it needs a model that can write at every temperature"
            )
        return _tell(*_sweep(model, training, real, how, domain, sweep), json)
    if keep:
        must_be_writable(keep / "0000.txt")
    # The n-grams first: what they cannot do is told before a model writes for minutes.
    counted = _write_ngrams(train, vocabulary, ngram, how) if vocabulary and ngram else []
    columns = {"model": _write(model, how)} if model else {"samples": samples}
    if vocabulary:
        columns |= {"real text": real} | ({f"{ngram}-grams": counted} if ngram else {})
    results = {
        name: structure(texts, domain, training=training, seed=seed) for name, texts in columns.items()
    }
    if keep:
        for name, texts in columns.items():
            _keep(texts, domain, keep / name.replace(" ", "-"))
    found = {name: result.as_dict() for name, result in results.items()}
    return _tell({"domain": domain, "temperature": temperature, "texts": found}, results, json)


def _refuse(how: "Writing", ways: dict[str, Path | None]) -> None:
    """Refuse numbers that cannot be, and what cannot be had together."""
    from nextchar.sampling.engine import Filters  # noqa: PLC0415  numba takes long to import

    if how.count < 1:
        raise ConfigError(f"the count is {how.count}, but must be 1 or more")
    if how.length < 100:
        raise ConfigError(
            f"the length is {how.length}, but samples need at least 100 characters to hold a piece"
        )
    if how.seed < 0:
        raise ConfigError(f"the seed is {how.seed}, but must be 0 or more")
    Filters(how.temperature)
    if all(ways.values()):
        raise ConfigError(f"both {' and '.join(ways)} were given; give one of them")


def _open(source: Path, length: int) -> "tuple[ModelFile | None, list[str]]":
    """Read a model, or samples; one long text is cut into samples of a length, so that there is an interval."""
    from nextchar.storage import read_model  # noqa: PLC0415  numpy takes a while to import

    if source.is_dir() or source.suffix == ".safetensors":
        return read_model(source), []
    try:
        text = source.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise TextError(
            f"the samples in {source} are not UTF-8: {error.reason} at offset {error.start}"
        ) from None
    samples = samples_of(text)
    if len(samples) == 1 and len(text) > 2 * length:
        samples = pieces_of(text, len(text), length)
    return None, samples


def samples_of(text: str) -> list[str]:
    """Return the samples in what `nextchar sample` printed, with or without `--json`, or a text as one sample."""
    from nextchar.cli.sample import RULE  # noqa: PLC0415  only samples need it

    try:
        written = json_module.loads(text)
        samples = [written["prompt"] + each["text"] for each in written["samples"]]
    except (ValueError, TypeError, KeyError):
        samples = text.split(RULE)
    if not any(samples):
        raise TextError("there is no sample to check")
    return samples


def _texts(
    source: Path, model: "ModelFile | None", against: tuple[str, ...], encoding: str
) -> "tuple[npt.NDArray[Any], npt.NDArray[Any], Vocabulary | None]":
    """Return what stands for the training text and what for real text nobody has learnt, as ids."""
    import numpy as np  # noqa: PLC0415  it takes a while to import

    from nextchar.cli.evaluate import part  # noqa: PLC0415  as above
    from nextchar.text.corpus import open_corpus  # noqa: PLC0415  as above

    if against:
        corpus = open_corpus(against, encoding=encoding)
        cut = int(len(corpus) * (1 - HELD_OUT))
        return corpus.ids[:cut], corpus.ids[cut:], corpus.vocabulary
    if model is None:
        return np.zeros(0, np.uint8), np.zeros(0, np.uint8), None
    # Neither part was trained on. That the model was chosen by one of them has no say in what real text is like.
    kept = [name for name in ("valid", "test") if model.config.get(name)]
    if not kept:
        raise TextError(f"{source} kept no text back to compare with; name one with --against")
    train, *held_out = (
        part(model, source, name, remedy="name one with --against, or keep the model in its run folder")
        for name in ("train", *kept)
    )
    return train, np.concatenate(held_out), model.vocabulary


def text_of(vocabulary: "Vocabulary | None", ids: "npt.NDArray[Any]") -> str:
    """Return ids as a text with line feeds alone as line ends."""
    return vocabulary.decode(ids).replace("\r\n", "\n") if vocabulary else ""


def pieces_of(text: str, count: int, length: int) -> list[str]:
    """Cut at most `count` samples of a length from all over a text."""
    most = max(1, min(count, len(text) // length))
    step = len(text) / most
    begins = [int(number * step) for number in range(most)]
    return [text[begin : begin + length] for begin in begins]


def _write(model: "ModelFile", how: "Writing") -> list[str]:
    from nextchar.cli.compiling import tell_of_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.parsing.sweep import write  # noqa: PLC0415  as above

    tell_of_compiling()
    return write(model, how)[0]


def _write_ngrams(
    train: "npt.NDArray[Any]", vocabulary: "Vocabulary", order: int, how: "Writing"
) -> list[str]:
    from nextchar.evaluation.ngram import NGram  # noqa: PLC0415  torch takes long to import

    if not how.temperature:
        raise ConfigError("the temperature is 0, but n-grams need more than 0; leave them out with --ngram 0")
    stderr().print(f"counting {order}-grams in {len(train):,} characters")
    table = NGram(train, len(vocabulary), order=order)
    written = table.write(how.count, how.length, temperature=how.temperature, seed=how.seed)
    return [text_of(vocabulary, ids) for ids in written]


def _sweep(
    model: "ModelFile", training: "Training", real: list[str], how: "Writing", domain: str, path: Path
) -> "tuple[dict[str, Any], dict[str, Structure]]":
    """Write at every temperature; tell of each, draw them all, return the one most like real text, as JSON and to be shown."""
    from nextchar.parsing.report import COPIED, get_domain, structure  # noqa: PLC0415  numpy takes a while
    from nextchar.parsing.sweep import figure, sweep, sweet_spot  # noqa: PLC0415  as above
    from nextchar.storage import write_text  # noqa: PLC0415  as above

    must_be_writable(path)
    reference = structure(real, domain, training=training, seed=how.seed)
    names = (get_domain(domain).headline, COPIED, "characters in loops")
    points = []
    for point in sweep(model, domain, training, how):
        points.append(point)
        told = ", ".join(f"{name} {_shown(point.structure[name].value)} %" for name in names)
        stderr().print(f"{point.temperature:g}: {told}, {point.bits_per_char:.2f} bits/char")
    best = sweet_spot(points, reference)
    write_text(path, figure(points, reference, f"{domain}, {how.count} samples of {how.length}"))
    stderr().print(f"{path}: most like real text at {best.temperature:g}")
    rows = [point.as_dict() | {"distance": point.distance(reference)} for point in points]
    found = {"domain": domain, "sweet_spot": best.temperature, "real": reference.as_dict(), "sweep": rows}
    return found, {f"at {best.temperature:g}": best.structure, "real text": reference}


def _keep(texts: list[str], domain: str, folder: Path) -> None:
    """Write the pieces of some samples into a folder."""
    from nextchar.parsing.report import get_domain  # noqa: PLC0415  numpy takes a while to import

    known = get_domain(domain)
    pieces = [piece for text in texts for piece in known.pieces(text).whole]
    folder.mkdir(parents=True, exist_ok=True)
    for number, piece in enumerate(pieces):
        for suffix, content in known.export(piece).items():
            (folder / f"{number:04}{suffix}").write_bytes(content)
    stderr().print(f"{folder}: {len(pieces):,} {known.piece}")


def _tell(found: dict[str, Any], results: "dict[str, Structure]", json: bool) -> int:
    """Print one JSON object, or a table."""
    print_json(found) if json else _show(results)
    return 0


def _show(results: "dict[str, Structure]") -> None:
    """Print a table: one row a measure, one column a text."""
    from rich.console import Console  # noqa: PLC0415  only this needs it
    from rich.table import Table  # noqa: PLC0415  as above

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    names = dict.fromkeys(measure.name for result in results.values() for measure in result.measures)
    for name in names:
        cells = [next((m for m in result.measures if m.name == name), None) for result in results.values()]
        unit = next(f", {cell.unit}" for cell in cells if cell)
        table.add_row(name + unit, *map(_cell, cells))
    longest = [str(result.longest_copy or "-") for result in results.values()]
    table.add_row("longest substring copied, chars", *longest)
    console = Console(highlight=False)
    # A table in a file is no wider than it need be, and no narrower.
    console.print(table) if console.is_terminal else Console(highlight=False, width=200).print(table)
    for line in dict.fromkeys(line for result in results.values() for line in result.skipped):
        stderr().print(line)


def _cell(measure: "Measure | None") -> str:
    """Return a value with its interval; nothing for a measure that a text has not."""
    if measure is None:
        return ""
    return f"{_shown(measure.value)}  [dim]{_shown(measure.low)} to {_shown(measure.high)}[/]"


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
