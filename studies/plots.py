"""Figures of the studies: axes, lines with a legend, and SVG files that are the same every time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from nextchar.parsing.sweep import svg
from nextchar.storage import write_text


def subplots(width: float, height: float, *shape: int, **options: Any) -> tuple[Figure, Any]:
    """Return a figure of a size in inches and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(*shape, **options)


def lines(points: Mapping[str, Sequence[tuple[float, float]]], **axis: Any) -> Figure:
    """Return a figure with a line for each name; `axis` holds labels, scales and limits."""
    figure, axes = subplots(7, 4)
    for name, line in points.items():
        axes.plot(*zip(*line, strict=True), marker="o", label=name)
    axes.set(**axis)
    axes.legend(fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG."""
    write_text(path, svg(figure))
