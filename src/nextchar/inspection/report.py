"""The report: a text and the units of a model as one HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError
from nextchar.inspection.page import Page, asset, numbers, pack, page
from nextchar.inspection.reach import Reach, reach
from nextchar.inspection.relations import correlations, in_likeness
from nextchar.inspection.strip import glyphs
from nextchar.inspection.summary import LayerSummary, most_varied, summarize
from nextchar.inspection.trace import (
    GATES,
    MAIN,
    PER_CHARACTER,
    SHOWN,
    SIGNALS,
    Given,
    Trace,
    choose,
    join,
    open_both,
    pieces,
)
from nextchar.inspection.unit import Unit, deciles, describe
from nextchar.language_model import LanguageModel
from nextchar.storage import ModelSource

UNITS = 64
# What a value of 1 becomes in the page: with finer steps, 64 varied units exceed 5 MB.
MAIN_STEPS, GATE_STEPS = 63, 10
DECADES = 4  # of the logarithmic scale of gradients, below the largest
POINTS = 60  # of a curve over distances
PROGRAMS = ("data.js", "strip.js", "charts.js", "unit.js", "overview.js", "raster.js", "page.js")


def report(
    model: ModelSource, text: Given, *, units: str | Sequence[Unit] = (), shown: int = SHOWN, title: str = ""
) -> Page:
    """Return the page of a text as HTML.

    Args:
        model: A model, its file or its path.
        text: At least one character that the model knows, or ids `(T,)`.
        units: Layer and unit of those that are shown, or "0:3,1:17"; by default the 64 whose main signal varies most in this text.
        shown: How many characters of the text the page contains.
        title: Names of the text and the model.

    Raises:
        ConfigError: A unit that the model does not have, or `shown` is below 1.
        TextError: There is no text.
    """
    if shown < 1:
        raise ConfigError(f"the characters to show are {shown}, but must be 1 or more")
    lm, ids = open_both(model, text)
    shape = lm.network.architecture
    units = parse_neurons(units) if isinstance(units, str) else units
    for layer, unit in units:
        choose(shape, {layer: [unit]})
    kept: list[Trace] = []
    layers = summarize(_keeping(pieces(lm, ids), kept, shown))
    chosen = list(dict.fromkeys(units)) or most_varied(layers, UNITS)
    every = [(layer, unit) for layer, summary in layers.items() for unit in summary.units]
    places = [every.index(unit) for unit in chosen]
    like = correlations([_side_by_side(part) for part in kept], places)
    seen = join(kept)
    data = {
        "title": title,
        "cell": shape.cell,
        "shape": f"{shape.layers} layer{'s' * (shape.layers > 1)} of {shape.hidden} units",
        "characters": len(ids),
        **_text(lm, seen),
        **_signals(seen, chosen),
        "order": in_likeness(like[:, places]),
        "units": list(describe(lm, layers, ids, dict(zip(chosen, like, strict=True)))),
        **_overview(layers),
        "reach": _reach(reach(lm, seen.ids)) if len(seen) > 1 else None,
    }
    for unit, place in zip(data["units"], chosen, strict=True):
        unit["deciles"] = deciles(seen.of(*place) / MAIN_STEPS, seen.ids)
    return page(data, asset("report.html"), asset("page.css"), [asset(name) for name in PROGRAMS])


def _keeping(parts: Iterator[Trace], kept: list[Trace], shown: int) -> Iterator[Trace]:
    """Yield the pieces, and keep the shown part of all units in bytes: which units are shown is not known yet."""
    left = shown
    for part in parts:
        if left > 0:
            steps = {name: _steps(part.cell, name) for name in _names(part.cell)}
            values: Any = {
                layer: {name: np.rint(seen[name][:left] * by).astype(np.int8) for name, by in steps.items()}
                for layer, seen in part.values.items()
            }
            columns: dict[str, Any] = {name: getattr(part, name)[:left] for name in ("ids", *PER_CHARACTER)}
            kept.append(replace(part, values=values, **columns))
            left -= len(part)
        yield part


def _names(cell: str) -> list[str]:
    """Return the signals in the page, the main one first."""
    return [MAIN[cell], *(signal for signal in SIGNALS[cell] if signal not in ("c", "tanh_c", "h"))]


def _steps(cell: str, signal: str) -> int:
    return MAIN_STEPS if signal == MAIN[cell] else GATE_STEPS


def _side_by_side(part: Trace) -> npt.NDArray[Any]:
    """Return the main signal of the units of all layers, `(T, A)`."""
    return np.concatenate([values[MAIN[part.cell]] for values in part.values.values()], axis=1)


def _text(lm: LanguageModel, seen: Trace) -> dict[str, Any]:
    """Return the text and the predictions."""
    milli = np.stack([seen.surprisal, seen.entropy]) * 1000
    return {
        "shown": len(seen),
        "bits": round(float(seen.surprisal.mean() / np.log(2)), 4),
        "vocabulary": glyphs(lm.vocabulary),
        "codes": list(lm.vocabulary.codes),
        "bytes": lm.vocabulary.units == "bytes",
        "ids": pack(seen.ids.astype(np.uint32)),
        "milli": pack(milli.clip(0, 65535).astype(np.uint16)),
        "rank": pack(seen.rank.astype(np.uint32)),
        "likeliest": pack(seen.likeliest.astype(np.uint32)),
        "expected": seen.likeliest.shape[1],
        "probabilities": pack((seen.probabilities * 255).round().astype(np.uint8)),
    }


def _signals(seen: Trace, chosen: Sequence[Unit]) -> dict[str, Any]:
    """Return the values of the chosen units at every character, the main signal first."""
    signals = [
        {
            "name": "tanh(c)" if name == "tanh_c" else name,
            "steps": _steps(seen.cell, name),
            "low": 0 if name in GATES[seen.cell] else -1,
            "values": pack(np.stack([seen.of(*unit, name) for unit in chosen])),
        }
        for name in _names(seen.cell)
    ]
    return {"signals": signals}


def _overview(layers: dict[int, LayerSummary]) -> dict[str, Any]:
    """Return every unit's saturation and timescales."""
    return {
        "saturation": [
            {"layer": layer, "gate": gate, "points": numbers(np.stack(summary.saturation(gate), 1))}
            for layer, summary in layers.items()
            for gate in summary.gates
        ],
        "timescales": [
            {"layer": layer, "points": numbers(summary.timescales.both(), 2)} for layer, summary in layers.items()
        ],
    }


def _reach(found: Reach) -> dict[str, Any]:
    """Return the curves, and the gradients as bytes on a logarithmic scale, 255 being the largest of each place."""
    distance = found.gradient.shape[1]
    largest = np.maximum(found.gradient.max(1, keepdims=True), 1e-300)
    shades = 1 + np.log10(np.maximum(found.gradient / largest, 10.0**-DECADES)) / DECADES
    marks = np.unique(np.geomspace(1, distance, POINTS).round().astype(int))
    quartiles = np.quantile(found.gradient[:, marks - 1], (0.25, 0.5, 0.75), axis=0).T
    return {
        "places": found.places.tolist(),
        "distance": distance,
        "decades": DECADES,
        "shades": pack((shades * 255).round().astype(np.uint8)),
        "half": int(np.median(found.half())),
        "marks": marks.tolist(),
        "gradient": [[float(f"{value:.3g}") for value in row] for row in quartiles],
        "contexts": found.contexts.tolist(),
        "cost": numbers(found.cost / np.log(2)),
        "error": numbers(found.error / np.log(2)),
        "loss": round(found.loss / np.log(2), 4),
        "enough": found.enough,
    }


def parse_neurons(words: str) -> list[Unit]:
    """Parse "0:3,1:17" as layers and units.

    Raises:
        ConfigError: It is not of that form.
    """
    try:
        return [(int(layer), int(unit)) for layer, unit in (word.split(":") for word in words.split(","))]
    except ValueError:
        raise ConfigError(f"neurons are given as LAYER:UNIT,... such as 0:3,1:17, not '{words}'") from None
