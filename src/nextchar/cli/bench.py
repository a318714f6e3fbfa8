"""`nextchar bench`: how fast this machine trains, writes and scores, beside its ceilings and what others do."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from nextchar.benchmark.report import PARTS, SIZES, agreement, measure
from nextchar.cli.compiling import tell_of_compiling
from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError
from nextchar.storage import read_model
from nextchar.text.corpus import open_corpus


def command(
    *,
    sizes: tuple[str, ...] | None = None,
    only: tuple[str, ...] | None = None,
    seconds: float = 3.0,
    agree: tuple[str, str] | None = None,
    json: Flag = False,
) -> int:
    """Measure the speed of this machine.

    Every figure stands beside the machine's own ceiling and beside what one
    would write otherwise. Close everything else first; it takes some minutes.

        nextchar bench
        nextchar bench --sizes 2x512 --only training --only generation
        nextchar bench --agree runs/shakespeare tiny.txt

    Parameters
    ----------
    sizes
        Networks to measure, layers x units. Default: 2x128, 1x512, 2x512, 2x640, 3x512.
    only
        Parts: ceilings, training, generation, scoring, encoding, starting. Default: all.
    seconds
        How long each measurement is repeated; medians are shown.
    agree
        A model and a text it knows: also compare what its kinds of weights score on 100,000 characters.
    json
        Print one JSON object on standard output.
    """
    for part in only or ():
        if part not in PARTS:
            raise ConfigError(f"the part is '{part}', but must be one of {', '.join(PARTS)}")
    if seconds <= 0:
        raise ConfigError(f"the seconds are {seconds:g}, but must be more than 0")
    if agree:
        file = read_model(Path(agree[0]))
        corpus = open_corpus([agree[1]], units=file.vocabulary.units).in_vocabulary(file.vocabulary)
    talk = stderr()
    tell_of_compiling()
    report = measure(sizes or SIZES, only or PARTS, seconds, lambda what: talk.print(f"measuring {what} ..."))
    if agree:
        report["agreement"] = agreement(file, corpus)
    if json:
        print_json(report)
    else:
        show(report)
    return 0


def show(report: dict[str, Any]) -> None:
    """Print a report as tables."""
    console = Console(highlight=False, soft_wrap=True)
    about = report["machine"]
    console.print(
        f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, Python {about['python']}, {about['date']}; "
        f"training in {about['precision']}"
    )
    for name, rows in _tables(report):
        console.print()
        table = Table(title=name, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for index, column in enumerate(rows[0]):
            table.add_column(column, justify="right" if index else "left")
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)


Rows = list[list[str]]


def _tables(report: dict[str, Any]) -> list[tuple[str, Rows]]:
    """Return a title and rows, the head first, for each part that was measured."""
    makers = {
        "ceilings": _ceilings,
        "training": _training,
        "generation": _generation,
        "scoring": _scoring,
        "encoding": _encoding,
        "starting": _starting,
        "agreement": _agreement,
    }
    return [table for part, make in makers.items() if part in report for table in make(report[part])]


def _ceilings(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    products = [["what", "GFLOP/s"]]
    for kind, shapes in found["gemm_gflops"].items():
        products += [[f"{kind} product {shape}", f"{value:,.0f}"] for shape, value in shapes.items()]
    reading = [["size", "GB/s"], *([size, f"{value:,.0f}"] for size, value in found["read_gbps"].items())]
    return [("Ceilings: products, all cores", products), ("Ceilings: reading, one core", reading)]


def _training(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    rows = [["size", "chars/s", "GFLOP/s", "of ceiling", "x nn.LSTM fp32", "x nn.LSTM bf16"]]
    for size, row in found.items():
        speed = [f"{row['chars_per_second']:,.0f}", f"{row['gflops']:,.0f}", f"{row['ceiling_share']:.0%}"]
        bf16 = f"{row['times_stock_bf16']:.2f}" if row["times_stock_bf16"] else "-"
        rows.append([size, *speed, f"{row['times_stock_fp32']:.2f}", bf16])
    return [("Training, all cores", rows)]


def _generation(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    others = list(next(iter(found.values()))["beside"])
    single = [["size", "weights", "one core", "of bound", "chars/s", *(f"x {other}" for other in others)]]
    together = [["size", "texts", "chars/s", "GFLOP/s", "of ceiling"]]
    for size, row in found.items():
        for kind, one in row["one_stream"].items():
            times = row["times"][kind]
            beside = [f"{times[other]:,.1f}" if other in times else "-" for other in others]
            alone = [f"{one['one_core']:,.0f}", f"{one['bound_share']:.0%}"]
            single.append([size, kind, *alone, f"{one['chars_per_second']:,.0f}", *beside])
        many = row["streams"]
        speed = [f"{many['chars_per_second']:,.0f}", f"{many['gflops']:,.0f}"]
        together.append([size, str(many["count"]), *speed, f"{many['ceiling_share']:.0%}"])
    return [("Writing one text", single), ("Writing texts together, all cores, fp32", together)]


def _scoring(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    rows = [[size, f"{row['chars_per_second']:,.0f}"] for size, row in found.items()]
    return [("Scoring, all cores", [["size", "chars/s"], *rows])]


def _encoding(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    rows = [[name.removesuffix("_mbps"), f"{value:,.0f}"] for name, value in found.items()]
    return [("Encoding, one core", [["text", "MB/s"], *rows])]


def _starting(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    rows = [
        ["first character", f"{found['first_character_seconds']:.2f}"],
        ["1,000 characters and out", f"{found['whole_seconds']:.2f}"],
    ]
    return [("nextchar sample -n 1000, 2x512", [["until", "seconds"], *rows])]


def _agreement(found: dict[str, Any]) -> list[tuple[str, Rows]]:
    kinds = {kind: found[kind] for kind in ("reference", "fp32", "bf16", "int8")}
    rows = [[kind, f"{bits:.5f}", f"{bits - found['reference']:+.5f}"] for kind, bits in kinds.items()]
    return [(f"Agreement on {found['chars']:,} characters", [["weights", "bits/char", "difference"], *rows])]
