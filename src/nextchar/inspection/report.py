"""The report: a text and the units of a model as one HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError, as_integer
from nextchar.inspection.naming import Named, name_neurons
from nextchar.inspection.reach import reach
from nextchar.inspection.relations import by_importance, correlations, in_likeness
from nextchar.inspection.summary import LayerSummary, summarize
from nextchar.inspection.trace import (
    GATES,
    MAIN,
    SHOWN,
    SIGNALS,
    Floats,
    Given,
    OnProgress,
    Trace,
    choose,
    ignore,
    join,
    open_both,
    pieces,
)
from nextchar.inspection.unit import Unit, deciles, describe
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Ids
from nextchar.pages.page import Page, asset, numbers, pack, page
from nextchar.storage import ModelSource
from nextchar.text.glyphs import glyphs
from nextchar.text.vocabulary import Vocabulary

UNITS = 40
# What a value of 1 becomes in the page: with finer steps, 40 varied units of 30,000 characters exceed 5 MB.
MAIN_STEPS, GATE_STEPS = 63, 10
REACH_CHARS, REACH_PLACES, REACH_DISTANCE = 10_000, 8, 500  # of the page's charts of context, which take seconds
SCREEN = 1000  # characters of the place that is shown first
DECADES = 4  # of the logarithmic scale of gradients, below the largest
POINTS = 60  # of a curve over distances
_own = partial(asset, package="nextchar.inspection")
SHARED = ("unpack.js", "strip.js", "charts.js")
PROGRAMS = ("data.js", "text.js", "unit.js", "overview.js", "raster.js", "page.js")


@dataclass(frozen=True, slots=True)
class Read:
    """What reading a text gave.

    Attributes:
        layers: Statistics of all units over the whole text.
        text: The part that is shown, with the main signal and the gates of all units as small integers.
        parts: The main signal of all A units in it, piece by piece, `(t, A)`.
        units: Layer and unit of each of them.
        names: The units that are named.
        ranked: All units, the most important first.
    """

    layers: dict[int, LayerSummary]
    text: Trace
    parts: list[npt.NDArray[np.int8]]
    units: list[Unit]
    names: dict[Unit, Named]
    ranked: list[Unit]

    @property
    def chosen(self) -> list[Unit]:
        """All units in the order in which they are worth seeing: those with a name, then the most important."""
        return list(dict.fromkeys([*self.names, *self.ranked]))

    def of(self, layer: int, unit: int) -> Floats:
        """Return the values of a unit in the shown part, `(T,)`."""
        return self.text.of(layer, unit) / MAIN_STEPS

    def sentence(self, unit: Unit) -> str:
        """Return what is known about a unit, in words."""
        return str(self.names.get(unit, f"{unit[0]}:{unit[1]}, number {self.ranked.index(unit) + 1} by importance"))


def read(lm: LanguageModel, ids: Ids, named: Sequence[Named] | None = None, on_progress: OnProgress = ignore) -> Read:
    """Read a text, and find out which units are worth seeing; without names of them, search for some."""
    kept: list[Trace] = []
    layers = summarize(_keeping(pieces(lm, ids, signals=_signals_of(lm)), kept, on_progress, len(ids)))
    units = [(layer, unit) for layer, summary in layers.items() for unit in summary.units]
    text, parts = join(kept), [_side_by_side(part) for part in kept]
    if named is None:
        on_progress("naming neurons", len(ids), len(ids))
        named = name_neurons(_letters(lm, text.ids), text.ids, parts, units)
    names = {(each.layer, each.unit): each for each in named}
    return Read(layers, text, parts, units, names, by_importance(lm.network, layers))


def typical_place(values: Floats, ids: Ids, vocabulary: Vocabulary, length: int) -> int:
    """Return the beginning of a line from which on `length` values of a unit vary most, in the second half of a text."""
    newline = vocabulary.codes.index(10) if 10 in vocabulary.codes else -1
    starts = np.flatnonzero(ids[:-1] == newline) + 1
    starts = starts[(starts >= len(ids) // 2) & (starts + length <= len(ids))]
    if not len(starts):
        return 0
    total, squares = (np.concatenate([[0], np.cumsum(values.astype(np.float64) ** power)]) for power in (1, 2))
    mean = (total[starts + length] - total[starts]) / length
    spread = (squares[starts + length] - squares[starts]) / length - mean**2
    return int(starts[np.argmax(spread)])


def inspect(
    model: ModelSource, text: Given, *, neurons: str | Sequence[Unit] = (), chars: int | None = SHOWN, title: str = ""
) -> Page:
    """Return a page that shows what the neurons of a network do while it reads a text, as HTML.

    Neurons that follow quotes, brackets, indentation, lines, words, numbers or comments come first, named in words: they are
    searched for on the first half of the text, and scored on the second.

    Args:
        model: A model, its file or its path.
        text: At least one character that the model knows, or ids `(T,)`.
        neurons: Layer and unit of those that are shown, or "0:3,1:17"; by default 40, those with a name and those that matter most.
        chars: How many characters are read, from the beginning; None reads all. The page shows 30,000 of them at most.
        title: Names of the text and the model.

    Raises:
        ConfigError: A unit that the model does not have, or `chars` is below 1.
        TextError: There is no text.
    """
    if chars is not None:
        as_integer("the number of characters", chars, "1 or more", 1)
    lm, ids = open_both(model, text)
    return neuron_page(lm, ids[:chars], neurons=neurons, title=title)


def neuron_page(
    lm: LanguageModel,
    ids: Ids,
    *,
    neurons: str | Sequence[Unit] = (),
    named: Sequence[Named] | None = None,
    title: str = "",
    on_progress: OnProgress = ignore,
) -> Page:
    """Return the page of `inspect`.

    Args:
        lm: The model.
        ids: The text, `(T,)`.
        neurons: As above.
        named: Neurons with their names, if these are known already; None searches for them.
        title: As above.
        on_progress: Called with what is being done, how much of it is done, and how much there is.
    """
    shape = lm.network.architecture
    asked = parse_neurons(neurons) if neurons else []
    for layer, unit in (*asked, *((each.layer, each.unit) for each in named or ())):
        choose(shape, {layer: [unit]})
    found = read(lm, ids, named, on_progress)
    seen, chosen = found.text, list(dict.fromkeys(asked)) or found.chosen[:UNITS]
    places = [found.units.index(unit) for unit in chosen]
    like = correlations(found.parts, places)
    on_progress("measuring how far back it looks", len(ids), len(ids))
    data = {
        "title": title,
        "cell": shape.cell,
        "shape": f"{shape.layers} layer{'s' * (shape.layers > 1)} of {shape.hidden} neurons",
        "neurons": len(found.units),
        "ranked": not asked,
        "searched": named is None,
        "characters": len(ids),
        **_text(lm, seen),
        **_signals(seen, chosen),
        "order": in_likeness(like[:, places]),
        "units": list(describe(lm, found.layers, ids, dict(zip(chosen, like, strict=True)))),
        **_overview(found.layers),
        "reach": _reach(lm, seen.ids[:REACH_CHARS]) if len(seen) > 1 else None,
    }
    for unit, place in zip(data["units"], chosen, strict=True):
        unit["at"] = typical_place(found.of(*place), seen.ids, lm.vocabulary, SCREEN)
        unit["deciles"] = deciles(found.of(*place), seen.ids)
        unit["place"] = found.ranked.index(place) + 1
        if place in found.names:
            name = found.names[place]
            unit["named"] = {"phrase": name.phrase, "score": round(name.score, 3), "measure": name.measure}
    return page(data, _own("report.html"), _own("page.css"), [*map(asset, SHARED), *map(_own, PROGRAMS)])


def _letters(lm: LanguageModel, ids: npt.NDArray[Any]) -> str:
    """Return one character for each id, also for each byte."""
    return (
        lm.vocabulary.to_bytes(ids).decode("latin-1") if lm.vocabulary.units == "bytes" else lm.vocabulary.decode(ids)
    )


def _keeping(parts: Iterator[Trace], kept: list[Trace], on_progress: OnProgress, total: int) -> Iterator[Trace]:
    """Yield the pieces, and keep the shown part of all units in bytes: which units are shown is not known yet."""
    left, done = SHOWN, 0
    for part in parts:
        if left > 0:
            first = part.part(0, left)
            values: Any = {
                layer: {
                    name: np.rint(seen[name] * _steps(part.cell, name)).astype(np.int8) for name in _names(part.cell)
                }
                for layer, seen in first.values.items()
            }
            kept.append(replace(first, values=values))
            left -= len(part)
        done += len(part)
        on_progress("reading", done, total)
        yield part


def _signals_of(lm: LanguageModel) -> list[str]:
    """Return the signals that are read: all but c, which has no bounds."""
    return [signal for signal in SIGNALS[lm.network.architecture.cell] if signal != "c"]


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
        "vocabulary": glyphs(lm.vocabulary, blanks=True),
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


def _reach(lm: LanguageModel, ids: Ids) -> dict[str, Any]:
    """Return the curves, and the gradients as bytes on a logarithmic scale, 255 being the largest of each place."""
    found = reach(lm, ids, places=REACH_PLACES, distance=REACH_DISTANCE)
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


def parse_neurons(words: str | Sequence[Unit]) -> list[Unit]:
    """Parse "0:3,1:17" as layers and units, or return these.

    Raises:
        ConfigError: It is not of that form.
    """
    try:
        pairs = [map(int, word.split(":")) for word in words.split(",")] if isinstance(words, str) else words
        return [(layer, unit) for layer, unit in pairs]
    except (TypeError, ValueError):
        raise ConfigError(f"neurons are given as LAYER:UNIT,... such as 0:3,1:17, not {words!r}") from None
