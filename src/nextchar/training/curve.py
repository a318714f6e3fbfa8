"""The curve of a run: training and validation in bits per character against steps, as SVG for light and dark pages.

The steps have a logarithmic scale, so that the fall of the first steps is as wide as that of the last. The file is
written without a plotting library, whose import would be half of a short run's last second.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nextchar.inspection.timeline import loss_curves
from nextchar.pages.page import asset
from nextchar.storage import write_text

Points = Sequence[tuple[int, float]]
WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 44, 46  # margins


def draw_curve(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the log of a run as an SVG; nothing if there is nothing to draw."""
    training, valid = loss_curves(entries).values()
    started: Mapping[str, Any] = next((each for each in entries if each["event"] == "started"), {})
    if training:
        write_text(path, curve_svg(training, valid, dropout=started.get("dropout", False)))


def curve_svg(training: Points, valid: Points, *, dropout: bool = False) -> str:
    """Return the curve as SVG.

    Args:
        training: Step and bits per character, at least one.
        valid: The same of validations.
        dropout: Whether the training loss is measured with dropout.
    """
    every = [*training, *valid]
    decades = max(math.log10(max(step for step, _ in every)), 0.1)
    low, high = min(bits for _, bits in every), max(bits for _, bits in every)
    low, high = low - 0.06 * (high - low) - 0.02, high + 0.02

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log10(max(step, 1)) / decades

    def y(bits: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (bits - low) / (high - low)

    parts = [f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>']
    for bits in _ticks(low, high):
        parts.append(f'<path class="grid" d="M{LEFT} {y(bits):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(bits) + 4:.1f}" text-anchor="end">{bits:g}</text>')
    for step in (10**power for power in range(int(decades + 1e-9) + 1)):
        parts.append(f'<path class="grid" d="M{x(step):.1f} {TOP}V{HEIGHT - BOTTOM + 4}"/>')
        parts.append(f'<text x="{x(step):.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{step:,}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts += [
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">step (logarithmic scale)</text>',
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">bits per character</text>',
        _line("train", [(x(step), y(bits)) for step, bits in _thinned(training, x)]),
        f'<path class="train" d="M{LEFT} 20h24"/><text x="{LEFT + 30}" y="24">training{" (with dropout)" * dropout}</text>',
    ]
    if valid:
        best, bits = min(valid, key=lambda point: point[1])
        dots = [(x(step), y(value)) for step, value in valid]
        parts.append(_line("valid", dots))
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in dots]
        parts.append(f'<path class="valid" d="M{LEFT + 200} 20h24"/>')
        parts.append(f'<text x="{LEFT + 230}" y="24">validation, at best {bits:.3f} at step {best:,}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="nextchar-curve" role="img" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}"><title>Loss of a training in bits per character</title><style>{asset("curve.css", "nextchar.training")}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _line(name: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{name}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'


def _thinned(points: Points, x: Callable[[float], float]) -> Points:
    """Return at most one point a pixel: the mean of those that share it."""
    columns: dict[int, list[tuple[int, float]]] = {}
    for step, bits in points:
        columns.setdefault(round(x(step)), []).append((step, bits))
    return [(each[-1][0], sum(bits for _, bits in each) / len(each)) for each in columns.values()]


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers between two."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5.5 >= high - low)
    return [round(step * n, 6) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
