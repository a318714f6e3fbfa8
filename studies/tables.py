"""Tables of a study's page, in Markdown."""

from collections.abc import Sequence
from typing import Any


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table, all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def span(least: int, most: int) -> str:
    """Write an interval of distances or lengths; one that ends at 2^30 or beyond has no end."""
    return f"{least}" if least == most else f"{least}-{most}" if most < 1 << 30 else f"{least} or more"
