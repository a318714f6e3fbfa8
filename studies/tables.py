"""Parts of a study's page in Markdown: tables, ranges, the machine; and the command line of a study."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from nextchar.benchmark.report import machine


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """Return a table; its first columns are aligned left, the others right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def span(least: int, most: int) -> str:
    """Return a range of distances or lengths as text; one that ends at 2^30 or above is open."""
    return f"{least}" if least == most else f"{least}-{most}" if most < 1 << 30 else f"{least} or more"


def best_bold(values: Sequence[float]) -> list[str]:
    """Return values with three decimals, the lowest in bold."""
    return [f"**{value:.3f}**" if value == min(values) else f"{value:.3f}" for value in values]


def measured_on() -> str:
    """Return the machine, the version of torch and the date."""
    about = machine()
    return f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, {about['date']}"


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that prints the docstring of a script as its help."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
