"""Strength of the relation between a unit and a feature, and its uncertainty.

A strength is between 0 (none) and 1 (complete): |2 AUC - 1| of a binary feature, |r| of an ordinal one, the multiple
correlation with sine and cosine of a cyclic one (Jammalamadaka & SenGupta 2001). All are sums of unit times label, so that
all units are scored on all features in one matrix product.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.discovery.states import LEVELS, Ints, States
from nextchar.features.feature import Feature, since

DRAWS = 400
RUNS_IN_BLOCK = 10  # length of a block of the bootstrap, in mean runs of the feature
ALMOST_ALL = 0.999  # share of known places from which on a feature is treated as known everywhere

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Design:
    """Features as columns of a matrix, at some places of a text.

    Attributes:
        ranked: Of binary features, to be multiplied by ranks of units, `(places, columns)`: the product is AUC - 1/2.
        scaled: Of the others, to be multiplied by standardized units, `(places, columns)`: the product is a correlation;
            a cyclic feature has two columns.
        which: For each feature its kind and its first column.
        crossed: By index of each cyclic feature, the correlation of its sine and cosine.
    """

    ranked: Tensor
    scaled: Tensor
    which: tuple[tuple[str, int], ...]
    crossed: dict[int, float]


def design(features: list[Feature], places: Ints) -> Design:
    """Make the columns; unknown labels have weight 0."""
    ranked: list[Doubles] = []
    scaled: list[Doubles] = []
    which, crossed = [], {}
    for index, feature in enumerate(features):
        values, known = feature.values[places].astype(np.float64), feature.known[places]
        which.append((feature.kind, len(ranked) if feature.kind == "binary" else len(scaled)))
        if feature.kind == "binary":
            on, off = known & (values != 0), known & (values == 0)
            both = on.any() and off.any()
            ranked.append(on / on.sum() - off / off.sum() if both else np.zeros(len(places)))
        elif feature.kind == "ordinal":
            scaled.append(_column(values, known))
        else:
            pair = [_column(turn(2 * np.pi * values), known) for turn in (np.sin, np.cos)]
            crossed[index] = float(pair[0] @ pair[1]) * len(places)
            scaled += pair
    return Design(_stack(ranked, len(places)), _stack(scaled, len(places)), tuple(which), crossed)


def _column(values: Doubles, known: Bools) -> Doubles:
    """Return the column whose product with a standardized unit is their correlation."""
    count = max(int(known.sum()), 1)
    away = np.where(known, values - values[known].mean() if known.any() else 0, 0)
    deviation = np.sqrt((away * away).sum() / count)
    result: Doubles = away / (deviation * np.sqrt(count * len(values))) if deviation > 0 else away
    return result


def _stack(columns: list[Doubles], length: int) -> Tensor:
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32) if columns else np.zeros((length, 0), np.float32))


def strengths(states: States, features: list[Feature], places: Ints) -> Doubles:
    """Return the signed strength of U units on F features, `(U, F)`: -1 to 1; each feature where it is known.

    Ranks, mean and scale of a unit are taken at the known places only. Features that are known at the same places are scored
    together; features that are almost always known are scored with those that are always known.
    """
    groups: dict[bytes, list[int]] = {}
    for index, feature in enumerate(features):
        known = feature.known[places]
        groups.setdefault(known.tobytes() if known.mean() < ALMOST_ALL else b"", []).append(index)
    result = np.empty((len(states.units), len(features)))
    for key, members in groups.items():
        there = places[np.frombuffer(key, np.bool_)] if key else places
        columns = design([features[index] for index in members], there)
        result[:, members] = signed(states.ranks(there), states.standardized(there), columns)
    return result


def signed(ranks: Tensor, scaled: Tensor, columns: Design) -> Doubles:
    """Return the strengths `(U, F)` of units given as ranks and standardized; that of a cyclic feature has no sign."""
    return gathered(ranks @ columns.ranked, scaled @ columns.scaled, columns)


def gathered(ranked: Tensor, scaled: Tensor, columns: Design) -> Doubles:
    """Return the strengths `(U, F)` from the products of units and columns."""
    areas, together = ranked.double().numpy(), scaled.double().numpy()
    result = np.empty((len(areas), len(columns.which)))
    for index, (kind, column) in enumerate(columns.which):
        if kind == "binary":
            result[:, index] = 2 * areas[:, column]
        else:
            one = together[:, column]
            if kind == "cyclic":
                other, crossed = together[:, column + 1], columns.crossed[index]
                square = (one**2 + other**2 - 2 * one * other * crossed) / max(1 - crossed**2, 1e-9)
                one = np.sqrt(np.clip(square, 0, 1))
            result[:, index] = one
    return result


def tally(codes: npt.NDArray[np.uint8], label: Bools, known: Bools, block: Ints) -> tuple[Ints, Ints]:
    """Count the 256 levels of a predictor at the known places, where a binary feature is off, and where it is on.

    `block` is the number of each place's block; both counts are `(blocks, 256)`.
    """
    count = int(block.max()) + 1
    index = (block * 2 + label) * LEVELS + codes
    table = np.bincount(index[known], minlength=count * 2 * LEVELS).reshape(count, 2, LEVELS)
    return table[:, 0], table[:, 1]


def auc(off: Doubles | Ints, on: Doubles | Ints) -> Doubles:
    """Return the area under the ROC curve of counts by level `(..., 256)`; ties count half."""
    below = np.cumsum(off, -1) - off / 2
    pairs = off.sum(-1) * on.sum(-1)
    return np.where(pairs > 0, (below * on).sum(-1) / np.maximum(pairs, 1), 0.5)


def average_precision(off: Ints, on: Ints) -> float:
    """Return the mean precision over the positives, the highest levels first (within one level, the precision at its end)."""
    hits, misses = np.cumsum(on[::-1]), np.cumsum(off[::-1])
    return float((on[::-1] * hits / np.maximum(hits + misses, 1)).sum() / max(on.sum(), 1))


def mcc(off: Ints, on: Ints) -> Doubles:
    """Return Matthews' correlation for each threshold, `(256,)`; levels above it predict the feature."""
    missed, right = np.cumsum(on), np.cumsum(off)
    hit, wrong = on.sum() - missed, off.sum() - right
    product = (hit + wrong).astype(np.float64) * (hit + missed) * (right + wrong) * (right + missed)
    top = hit.astype(np.float64) * right - wrong.astype(np.float64) * missed
    return np.where(product > 0, top / np.sqrt(np.maximum(product, 1)), 0)


def moments(x: npt.NDArray[Any], y: npt.NDArray[Any], where: Bools, block: Ints) -> Doubles:
    """Return the sums that a correlation is computed from, by block, `(B, 6)`."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    count = int(block.max()) + 1
    products = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    return np.stack([np.bincount(block[where], each[where], count) for each in products], 1)


def correlation(sums: Doubles) -> Doubles:
    """Return r of sums `(..., 6)`; 0 where one of both is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)
    square = np.maximum(xx / n - (x / n) ** 2, 0) * np.maximum(yy / n - (y / n) ** 2, 0)
    scale = np.sqrt(np.maximum(square, 1e-24))
    return np.where(square > 1e-18, (xy / n - x * y / n**2) / scale, 0)


def eta_squared(x: npt.NDArray[Any], y: npt.NDArray[Any], most: int = 64) -> float:
    """Return the share of the variance of x that the levels of y, at most 64, explain."""
    levels, level = np.unique(y, return_inverse=True)
    if len(levels) > most:
        level = np.digitize(y, np.unique(np.quantile(y, np.linspace(0, 1, most + 1)[1:-1])))
    count = np.maximum(np.bincount(level), 1)
    means = np.bincount(level, x.astype(np.float64)) / count
    total = x.astype(np.float64).var()
    return float(((means[level] - x.mean()) ** 2).mean() / total) if total > 0 else 0.0


def blocks_of(places: Ints, feature: Feature) -> Ints:
    """Return the number of each place's block of the bootstrap: at least ten mean runs long, never across a gap."""
    size = max(200, int(RUNS_IN_BLOCK * feature.mean_run()))
    segment = np.cumsum(np.concatenate([[0], np.diff(places) > 1]))
    within = since(np.concatenate([[True], np.diff(places) > 1]))
    lengths = np.bincount(segment)
    # The last block of a segment includes the remainder, so that no block is short.
    number = np.minimum(within // size, np.maximum(lengths[segment] // size - 1, 0))
    _, result = np.unique(segment * (len(places) + 1) + number, return_inverse=True)
    return result.astype(np.int64)


def draw_blocks(count: int, seed: int, draws: int = DRAWS) -> Doubles:
    """Return how often each draw of a bootstrap takes each of B blocks, `(draws, B)`."""
    random = np.random.default_rng(seed)
    return random.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def interval(draws: Doubles) -> tuple[float, float]:
    """Return the 95 % interval of draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
