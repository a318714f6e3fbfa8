"""`nextchar bench`: how fast this machine trains, generates, scores and starts."""

from typing import Any

from rich.console import Console
from rich.table import Table

from nextchar.benchmark.report import PARTS, SIZES, measure
from nextchar.cli.compiling import report_compiling
from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag

Rows = list[list[str]]


def command(
    *,
    sizes: tuple[str, ...] | None = None,
    only: tuple[str, ...] | None = None,
    seconds: float = 3.0,
    json: Flag = False,
) -> int:
    """Measure the speed of this machine.

    Close other programs first; all parts together take some minutes.

        nextchar bench
        nextchar bench --sizes 2x512 --only training generation

    Parameters
    ----------
    sizes
        Networks to measure, layers x units. Default: 2x128, 1x512, 2x512, 2x640, 3x512.
    only
        Parts: training, generation, scoring, starting. Default: all.
    seconds
        How long each measurement is repeated; medians are reported.
    json
        Print one JSON object on standard output.
    """
    report_compiling()
    report = measure(sizes or SIZES, only or PARTS, seconds=seconds, on_progress=stderr().print)
    if json:
        print_json(report)
    else:
        print_tables(report["machine"], tables(report))
    return 0


def print_tables(machine: dict[str, Any], titled: dict[str, Rows]) -> None:
    """Print the machine, and a table for each title; the first row is the head."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}, Python {machine['python']}, "
        f"{machine['date']}; training in {machine['precision']}"
    )
    for title, (head, *rows) in titled.items():
        console.print()
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for index, column in enumerate(head):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def tables(report: dict[str, Any]) -> dict[str, Rows]:
    """Return a table for each part that was measured."""
    found: dict[str, Rows] = {}
    for part, title in (("training", "Training, all cores"), ("scoring", "Scoring, all cores")):
        if part in report:
            rows = [[size, f"{row['chars_per_second']:,.0f}"] for size, row in report[part].items()]
            found[title] = [["size", "chars/s"], *rows]
    if "generation" in report:
        one = [["size", "weights", "one core", "chars/s"]]
        many = [["size", "streams", "chars/s"]]
        for size, row in report["generation"].items():
            for kind, speed in row["one_stream"].items():
                one.append([size, kind, f"{speed['one_core']:,.0f}", f"{speed['chars_per_second']:,.0f}"])
            many.append([size, str(row["streams"]["count"]), f"{row['streams']['chars_per_second']:,.0f}"])
        found |= {"Generation, one stream": one, "Generation, many streams, all cores, fp32": many}
    if "starting" in report:
        seconds = report["starting"]
        found["nextchar sample -n 1000, 2x512"] = [
            ["until", "seconds"],
            ["first character", f"{seconds['first_character_seconds']:.2f}"],
            ["1,000 characters and exit", f"{seconds['whole_seconds']:.2f}"],
        ]
    return found
