"""The curve of a run: training and validation in bits per character against steps."""

from pathlib import Path
from typing import Any

from nextchar.inspection.timeline import loss_curves
from nextchar.storage import write_atomically


def draw_curve(entries: list[dict[str, Any]], path: Path) -> None:
    """Draw the log of a run as an SVG; nothing if there is nothing to draw."""
    training, valid = loss_curves(entries).values()
    if not training:
        return
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import, and only the end of a run needs it

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*training, strict=True), color="#8a8a8a", linewidth=1, label="training")
    if valid:
        axes.plot(*zip(*valid, strict=True), color="#0072b2", marker="o", markersize=4, label="validation")
        step, bits = min(valid, key=lambda point: point[1])
        axes.annotate(f"{bits:.3f}", (step, bits), xytext=(0, 8), textcoords="offset points", ha="center")
    # The first steps fall from the bits of a random guess; what matters is below.
    low = min(bits for _, bits in training + valid)
    high = sorted(bits for _, bits in training)[-max(1, len(training) // 20)]
    axes.set_ylim(low - 0.08 * (high - low) - 0.02, high + 0.05)
    axes.set_xlabel("step")
    axes.set_ylabel("bits per character")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="svg"))
