"""Parts of a study's page in Markdown: tables, ranges, the machine; and the command line of a study."""

import argparse
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nextchar.benchmark.report import machine
from nextchar.storage import write_text

WIDTH = 120  # of a line of prose


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
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def wrapped(page: str) -> str:
    """Return a Markdown page with its paragraphs and list items wrapped; code, tables, headings and pictures stay."""
    blocks = re.split(r"(^```.*?^```$)", page, flags=re.DOTALL | re.MULTILINE)
    blocks[::2] = ["\n\n".join(map(_wrapped, block.split("\n\n"))) for block in blocks[::2]]
    return "".join(blocks)


def _wrapped(paragraph: str) -> str:
    text = paragraph.strip("\n")
    if not text or text[0] in "|#!<":
        return paragraph
    fill = textwrap.TextWrapper(WIDTH, break_long_words=False, break_on_hyphens=False)
    items = []
    for item in re.split(r"\n(?=- )", text):
        fill.subsequent_indent = "  " if item.startswith("- ") else ""
        items.append(fill.fill(" ".join(item.split())))
    return paragraph.replace(text, "\n".join(items))


def write_page(path: Path, page: str) -> None:
    """Write a page with wrapped lines."""
    write_text(path, wrapped(page))
