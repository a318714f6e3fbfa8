"""The description of a unit in the page: its extremes, what drives it, its effects, and similar units."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.inspection.relations import alone, direct_effect
from nextchar.inspection.summary import WINDOW, LayerSummary
from nextchar.inspection.trace import Floats
from nextchar.language_model import LanguageModel
from nextchar.pages.page import numbers

BY_CHARACTER = 6
DRIVERS = 4
ALIKE = 5
DECILES = 10
PRIOR = 10  # occurrences of a character at which its own mean counts as much as the mean of all

Unit = tuple[int, int]
Ids = npt.NDArray[Any]


def describe(
    lm: LanguageModel, layers: dict[int, LayerSummary], ids: Ids, like: Mapping[Unit, Floats]
) -> Iterator[dict[str, Any]]:
    """Yield the description of each unit over the whole text.

    Args:
        lm: The model.
        layers: Their summaries.
        ids: The text, `(T,)`.
        like: The units, and the correlation of each with the units of all layers, `(A,)`.
    """
    first = alone(lm.network)
    effects = {layer: direct_effect(lm.network, layer) for layer in layers}
    timescales = {layer: summary.timescales.both() for layer, summary in layers.items()}
    every = [(layer, unit) for layer, summary in layers.items() for unit in summary.units]
    for (layer, unit), row in like.items():
        summary, effect = layers[layer], effects[layer]
        known = first if layer == 0 else {}
        others = np.where([place == (layer, unit) for place in every], np.nan, row)
        yield {
            "layer": layer,
            "unit": unit,
            **_values(summary, unit),
            **_windows(summary, unit, ids),
            "timescales": numbers(timescales[layer][unit], 2),
            "drivers": {gate: _drivers(summary, gate, unit, known.get(gate)) for gate in summary.gates},
            "effect": None if effect is None else ends(effect[:, unit] * _deviation(summary, "h", unit), BY_CHARACTER),
            "alike": [[[*every[index], r] for index, r in end] for end in ends(others, ALIKE)],
        }


def _values(summary: LayerSummary, unit: int) -> dict[str, Any]:
    """Return statistics of the main signal, and its mean by character."""
    main = summary.main
    return {
        "mean": round(float(summary.mean(main)[unit]), 4),
        "deviation": round(_deviation(summary, main, unit), 4),
        "least": round(float(summary.least[main][unit]), 4),
        "most": round(float(summary.most[main][unit]), 4),
        "histogram": summary.histogram[unit].tolist(),
        "characters": _characters(summary, summary.main, unit, BY_CHARACTER),
    }


def _deviation(summary: LayerSummary, signal: str, unit: int) -> float:
    return float(np.sqrt(summary.variance(signal)[unit]))


def _windows(summary: LayerSummary, unit: int, ids: Ids) -> dict[str, Any]:
    """Return the windows with the largest and the smallest values."""
    found = {"strongest": summary.strongest, "weakest": summary.weakest}
    return {name: [_window(int(at), ids) for at in places[:, unit] if at >= 0] for name, places in found.items()}


def _window(begin: int, ids: Ids) -> list[Any]:
    return [begin, ids[begin : begin + WINDOW].tolist()]


def _characters(summary: LayerSummary, signal: str, unit: int, count: int) -> list[list[list[Any]]]:
    """Return the characters after which the mean of a signal is highest and lowest: id, mean, occurrences.

    They are ordered by means to which `PRIOR` values of the overall mean are added, so that one rare character is no extreme.
    """
    means, times = summary.by_character(signal)[:, unit], summary.occurrences
    overall = summary.mean(signal)[unit]
    weighed = overall + (means - overall) * times / (times + PRIOR)
    return [
        [[index, round(float(means[index]), 3), int(times[index])] for index, _ in end] for end in ends(weighed, count)
    ]


def _drivers(summary: LayerSummary, gate: str, unit: int, first: Floats | None) -> list[list[list[Any]]]:
    """Return the characters at which a gate is most open and most closed, and its value for the character alone."""
    return [
        [[*entry, None if first is None else round(float(first[entry[0], unit]), 3)] for entry in end]
        for end in _characters(summary, gate, unit, DRIVERS)
    ]


def ends(values: Floats, count: int) -> tuple[list[list[Any]], list[list[Any]]]:
    """Return index and value of the largest and of the smallest, the most extreme first, without nan.

    Example:
        >>> ends(np.array([0.5, np.nan, 2.0, 1.0]), 2)
        ([[2, 2.0], [3, 1.0]], [[0, 0.5], [3, 1.0]])
    """
    order = [int(index) for index in np.argsort(values, kind="stable") if np.isfinite(values[index])]
    pairs = [[index, round(float(values[index]), 3)] for index in order]
    return pairs[::-1][:count], pairs[:count]


def deciles(values: Floats, ids: Ids) -> list[list[Any]]:
    """Return ten windows of a text `(T,)`: the median window of each decile of the windows ordered by their means."""
    whole = max(1, len(ids) // WINDOW)
    means = values[: whole * WINDOW].reshape(whole, -1).mean(1)
    order = np.argsort(-means, kind="stable")
    picked = [int(order[(2 * k + 1) * whole // (2 * DECILES)]) for k in range(DECILES)]
    return [[*_window(WINDOW * window, ids), round(float(means[window]), 3)] for window in dict.fromkeys(picked)]
