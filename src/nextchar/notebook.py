"""How values are shown in a notebook: small self-contained HTML, readable on light and on dark, and everything escaped."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_html
from typing import Any

from nextchar.text.display import visible

# Lines and backgrounds are translucent, and text has the colour of the notebook.
BOX = "border:1px solid #8886;border-radius:6px;padding:.6em .9em;margin:.3em 0;max-width:46em;overflow-wrap:anywhere"
TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.5em 0 0;background:none;color:inherit;line-height:1.5"
LEVELS, BITS = 6, 9.0  # shades of surprise, and the bits per character of the darkest
WIDTH, HEIGHT = 420, 90  # of a curve, in pixels


def escape(text: str) -> str:
    """Return a text as HTML that is displayed as it is; what is invisible or changes the direction becomes its number."""
    return escape_html(visible(text))


def card(title: str, facts: Mapping[str, str], *parts: str) -> str:
    """Return a title, facts by name, and more HTML, in a box."""
    rows = "".join(
        f'<div><span style="display:inline-block;min-width:8em;opacity:.65">{escape(name)}</span> {escape(fact)}</div>'
        for name, fact in facts.items()
    )
    return f'<div style="{BOX}"><b>{escape(title)}</b>{rows}{"".join(parts)}</div>'


def frame(page: str, height: int = 700) -> str:
    """Return a whole page in a frame of its own."""
    return f'<iframe srcdoc="{escape_html(page)}" style="width:100%;height:{height}px;border:1px solid #8886"></iframe>'


def paragraph(text: str, *, prompt: str = "", bits: Sequence[float] = ()) -> str:
    """Return a text as HTML, after its prompt; with the bits of each character, surprising ones are orange."""
    if len(bits) != len(text):
        return f'<pre style="{TEXT}"><b>{escape(prompt)}</b>{escape(text)}</pre>'
    levels = [round(min(each / BITS, 1) * LEVELS) for each in bits]
    starts = [i for i, level in enumerate(levels) if not i or level != levels[i - 1]]
    runs = (
        f'<span style="background:rgba(224,130,20,{levels[i] / LEVELS * 0.7:.2g})">{escape(text[i:end])}</span>'
        for i, end in zip(starts, [*starts[1:], len(text)], strict=True)
    )
    return f'<pre style="{TEXT}"><b>{escape(prompt)}</b>{"".join(runs)}</pre>'


def curve(log: Iterable[Mapping[str, Any]]) -> str:
    """Return the training and validation loss of a log as a small SVG; nothing if there are fewer than two of each."""
    points: dict[str, list[tuple[float, float]]] = {"progress": [], "validated": []}
    for entry in log:
        if entry["event"] in points:
            nats = entry["loss"] if entry["event"] == "progress" else entry["score"]["nats_per_char"]
            points[entry["event"]].append((entry["step"], math.log(max(nats, 1e-9))))
    every = [point for line in points.values() for point in line]
    if len(every) < 2:
        return ""
    last, low, high = max(x for x, _ in every), min(y for _, y in every), max(y for _, y in every)
    lines = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="{width}" points="'
        + " ".join(
            f"{2 + x / last * (WIDTH - 4):.1f},{2 + (high - y) / max(high - low, 1e-9) * (HEIGHT - 4):.1f}"
            for x, y in line
        )
        + '"/>'
        for line, colour, width in ((points["progress"], "#8888", 1.5), (points["validated"], "rgb(224,130,20)", 2))
    )
    ends = f"{math.exp(high) / math.log(2):.2f} to {math.exp(low) / math.log(2):.2f} bits per character, {last:,} steps"
    legend = f'<small style="opacity:.65">training grey, validation orange (logarithmic): {ends}</small>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="display:block;width:100%;max-width:{WIDTH}px">{lines}</svg>{legend}'


def summary(kind: str, shape: object, vocabulary: str, provenance: Mapping[str, Any]) -> str:
    """Return one line about a model: its shape, its vocabulary, and its score on the validation part."""
    bits = (provenance.get("valid") or {}).get("bits_per_char")
    return f"<{kind} {shape}, {vocabulary}{f', {bits:.2f} bits/char' if bits else ''}>"
