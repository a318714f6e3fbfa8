"""How values are shown: in one line, and in a notebook as small self-contained HTML that is readable on light and on dark."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape as escape_html
from typing import Any

from nextchar.architecture import Architecture
from nextchar.text.display import visible
from nextchar.text.vocabulary import Vocabulary

# Lines and backgrounds are translucent, and text has the colour of the notebook.
BOX = "border:1px solid #8886;border-radius:6px;padding:.6em .9em;margin:.3em 0;max-width:46em;overflow-wrap:anywhere"
GRID = "display:grid;grid-template-columns:max-content 1fr;gap:0 1em;margin:.3em 0"
TEXT = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;margin:.5em 0;background:none;color:inherit;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace"
ORANGE, BLUE = "224,130,20", "#3d8fcf"
LEVELS, BITS = 6, 9.0  # shades of surprise, and the bits per character of the strongest
WIDTH, HEIGHT = 420, 90  # of a curve, in pixels


def escape(text: str) -> str:
    """Return a text as HTML that is displayed as it is; what is invisible or changes the direction becomes its number."""
    return escape_html(visible(text))


def note(text: str) -> str:
    """Return a remark in small and dim letters."""
    return f'<small style="opacity:.65">{escape(text)}</small>'


def card(title: str, facts: Iterable[tuple[str, str]], *parts: str) -> str:
    """Return a title, facts by name, and more HTML, in a box."""
    rows = "".join(
        f'<span style="opacity:.65">{escape(name)}</span><span>{escape(fact)}</span>' for name, fact in facts
    )
    return f'<div style="{BOX}"><b>{escape(title)}</b><div style="{GRID}">{rows}</div>{"".join(parts)}</div>'


def frame(page: str, height: int = 700) -> str:
    """Return a whole page in a frame of its own."""
    return f'<iframe srcdoc="{escape_html(page)}" style="width:100%;height:{height}px;border:1px solid #8886"></iframe>'


def coloured(prompt: str, text: str, bits: Sequence[float]) -> str:
    """Return a prompt and a text as HTML; with the bits of each character, surprising ones are orange."""
    levels = [round(min(each / BITS, 1) * LEVELS) for each in bits] if len(bits) == len(text) else [0] * len(text)
    starts = [i for i, level in enumerate(levels) if not i or level != levels[i - 1]]
    runs = (
        f'<span style="background:rgba({ORANGE},{levels[i] / LEVELS * 0.7:.2g})">{escape(text[i:end])}</span>'
        for i, end in zip(starts, [*starts[1:], len(text)], strict=bool(text))
    )
    legend = note(f"orange: characters that surprised the model, strongest from {BITS:g} bits") if any(levels) else ""
    return f'<pre style="{TEXT}"><b>{escape(prompt)}</b>{"".join(runs)}</pre>{legend}'


def curve(log: Iterable[Mapping[str, Any]]) -> str:
    """Return the training and validation loss of a log as a small SVG; nothing if the log has fewer than two losses."""
    lines: dict[str, list[tuple[int, float]]] = {"progress": [], "validated": []}
    for entry in log:
        if entry["event"] in lines:
            nats = entry["loss"] if "loss" in entry else entry["score"]["nats_per_char"]
            lines[entry["event"]].append((entry["step"], math.log(max(nats, 1e-6))))
    steps, losses = ([point[i] for line in lines.values() for point in line] for i in (0, 1))
    if len(steps) < 2:
        return ""
    across, top, down = WIDTH / math.log(max(2, *steps)), max(losses), HEIGHT / max(max(losses) - min(losses), 1e-9)
    drawn = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="'
        + " ".join(f"{math.log(max(x, 1)) * across:.1f},{(top - y) * down:.1f}" for x, y in line)
        + '"/>'
        for line, colour in zip(lines.values(), ("#888c", BLUE), strict=True)
    )
    ends = f"{math.exp(top) / math.log(2):.2f} to {math.exp(min(losses)) / math.log(2):.2f} bits per character"
    legend = note(f"training grey, validation blue: {ends}, in {max(steps):,} steps (logarithmic)")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="display:block;width:100%;max-width:{WIDTH}px;overflow:visible">{drawn}</svg>{legend}'


def summary(kind: str, shape: Architecture, vocabulary: Vocabulary, provenance: Mapping[str, Any]) -> str:
    """Return one line about a model: its shape, its vocabulary, and its score on the validation part."""
    bits = (provenance.get("valid") or {}).get("bits_per_char")
    return f"<{kind} {shape}, {len(vocabulary):,} {vocabulary.units}{f', {bits:.2f} bits/char' if bits else ''}>"
