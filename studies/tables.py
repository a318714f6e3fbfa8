"""Tables of a study's page, in Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """Return a table; its first columns are set to the left, numbers to the right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def span(least: int, most: int) -> str:
    """Write an interval of distances or lengths; one that ends at 2^30 or beyond has no end."""
    return f"{least}" if least == most else f"{least}-{most}" if most < 1 << 30 else f"{least} or more"
