"""Ablation: whether the network uses what a unit represents, compared with control units of its layer.

Each of a hundred units and more is set to its mean in rows of the batch of its own, on the same windows of held-out text. The
increase of the loss at every character is compared where a feature is on, where it is off, and where it ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nextchar.discovery.interventions import Edit, clamp, intervening
from nextchar.discovery.scores import Doubles
from nextchar.discovery.states import Ints, States, Unit, as_memory
from nextchar.features.feature import Feature
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Reader, in_parallel
from nextchar.model.state import State, map_state

WINDOW, WARM_UP = 256, 64  # characters of a window, of which the first are read but not counted
WINDOWS = 16
BATCH_SIZE = 192
CONTROLS, POOL_PERCENT = (100, 130)  # control units of an ablated unit, and the size of the pool they are chosen from
USES_PERCENTILE, USES_RATIO = 99.0, 2.0
CONTEXT = 512  # characters read before a window
BITS = 1 / np.log(2)


@dataclass(frozen=True, slots=True)
class Ablations:
    """The loss caused by setting single units to their mean.

    Attributes:
        places: The counted characters, ascending, `(P,)`.
        rows: The units, as rows of the states, `(A,)`.
        bits: Increase of the loss at each character, in bits, `(A, P)`.
    """

    places: Ints
    rows: Ints
    bits: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Effect:
    """What ablating a unit does on and off a feature.

    Attributes:
        on_bits: Increase of the loss where the feature is on, in bits per character.
        off_bits: Where it is off.
        closing_bits: Where it has just ended; None if it never does.
        ratio: `on_bits` / `off_bits`.
        percentile: Percentage of the control units whose ablation increases the loss less where the feature is on.
        controls: Number of control units.
        controls_99: 99th percentile of their increases.
        characters_on: Number of counted characters with the feature on.
        passes: Whether the effect is sufficient for `uses`.
    """

    on_bits: float
    off_bits: float
    closing_bits: float | None
    ratio: float
    percentile: float
    controls: int
    controls_99: float
    characters_on: int
    passes: bool


def choose_windows(features: Sequence[Feature], held: Ints, count: int = WINDOWS) -> Ints:
    """Return the starts of windows: half of them spread evenly over the held-out half, half where rare features begin and end."""
    runs = np.split(held, np.flatnonzero(np.diff(held) > 1) + 1)
    starts = np.concatenate([run[: max(0, len(run) - WINDOW) : WINDOW] for run in runs])
    if len(starts) <= count:
        return starts
    chosen = list(starts[np.linspace(0, len(starts) - 1, count - count // 2).astype(int)])
    inside = starts[:, None] + np.arange(WARM_UP, WINDOW)
    shares = [(each.positive & each.known)[inside].mean(1) for each in features if each.kind == "binary"]
    covered = [share[np.searchsorted(starts, chosen)].sum() for share in shares]
    while len(chosen) < count:
        left = ~np.isin(starts, chosen)
        if shares:
            poorest = int(np.argmin(covered))
            # The best window has the feature on half of the time.
            worth = np.where(left, -np.abs(shares[poorest] - 0.5), -1.0)
        else:
            worth = left.astype(float)
        best = int(np.argmax(worth))
        chosen.append(starts[best])
        covered = [value + share[best] for value, share in zip(covered, shares, strict=True)]
        if shares and shares[poorest][best] == 0:
            covered[poorest] = np.inf
    return np.sort(np.array(chosen))


def control_units(states: States, rows: Sequence[int], seed: int, count: int = CONTROLS) -> Ints:
    """Return random units of the layers of some units, as rows: 30 % more in each layer than `count`, to choose from."""
    layers = np.array([layer for layer, _ in states.units])
    random = np.random.default_rng(seed)
    pool: set[int] = set()
    for layer in sorted({int(layers[row]) for row in rows}):
        there = np.setdiff1d(np.flatnonzero(layers == layer), rows)
        pool |= set(random.choice(there, min(len(there), POOL_PERCENT * count // 100), replace=False).tolist())
    return np.array(sorted(pool), np.int64)


def ablate(lm: LanguageModel, ids: npt.NDArray[Any], states: States, rows: Ints, starts: Ints) -> Ablations:
    """Set units (rows of the states) to their mean over the text, one at a time, and measure the loss in every window."""
    inputs = np.stack([np.asarray(ids[at : at + WINDOW], np.int64) for at in starts], 1)
    begin = begin_states(lm, ids, starts)
    clean = losses(lm, inputs, begin, [])
    means = np.array([states.levels[row][states.codes[row]].mean() for row in rows])
    means = as_memory(means, lm.network.architecture.cell)
    bits = np.empty((len(rows), (WINDOW - WARM_UP) * len(starts)), np.float32)
    each = max(1, BATCH_SIZE // len(starts))

    def ablate_groups(first_group: int, after_group: int) -> None:
        for first in range(first_group * each, min(after_group * each, len(rows)), each):
            mine = slice(first, first + each)
            units = [states.units[row] for row in rows[mine]]
            edits = _one_each(units, means[mine], len(starts))
            ablated = losses(lm, np.tile(inputs, (1, len(units))), _repeated(begin, len(units)), edits)
            more = (ablated - np.tile(clean, (1, len(units))))[WARM_UP:]
            more = more.reshape(WINDOW - WARM_UP, len(units), len(starts)).transpose(1, 2, 0)
            bits[mine] = (more * BITS).reshape(len(units), -1)

    in_parallel(ablate_groups, -(-len(rows) // each))
    places = (starts[:, None] + np.arange(WARM_UP, WINDOW)).ravel()
    return Ablations(places, rows, bits)


def _one_each(units: Sequence[Unit], values: npt.NDArray[Any], size: int) -> list[Edit]:
    """Return edits that hold unit k in the k-th group of `size` rows of the batch."""
    edits = []
    for layer in sorted({layer for layer, _ in units}):
        mine = np.repeat([k for k, unit in enumerate(units) if unit[0] == layer], size)
        rows = mine * size + np.tile(np.arange(size), len(mine) // size)
        held = clamp(torch.from_numpy(values[mine])[:, None])
        chosen = tuple(units[k][1] for k in mine)
        edits.append(Edit(layer, chosen, held, rows=tuple(rows.tolist()), paired=True))
    return edits


def _repeated(state: State, times: int) -> State:
    """Return a state with its rows repeated, one whole set after the other."""
    return map_state(lambda vector: vector.repeat(times, 1), state)


def begin_states(lm: LanguageModel, ids: npt.NDArray[Any], starts: Ints, before: int = CONTEXT) -> State:
    """Return the states at the starts of windows, after START and up to `before` characters."""
    rows = np.full((before, len(starts)), lm.vocabulary.start, np.int64)
    for row, at in enumerate(starts):
        there = np.asarray(ids[max(0, at - before) : at], np.int64)
        rows[before - len(there) :, row] = there
    return Reader(lm.network).read(rows, lm.network.empty_state(len(starts)))


def edited(lm: LanguageModel, edits: Sequence[Edit]) -> Reader:
    """Return a reader of the network under edits."""
    layers = lm.network.architecture.layers
    return Reader(lm.network, recurrence=lambda first: intervening(edits, layers=layers, first_step=first))


def losses(lm: LanguageModel, ids: npt.NDArray[np.int64], state: State, edits: Sequence[Edit]) -> Doubles:
    """Return -ln p of each id `(T, B)` under edits; 0 for the first, which is not predicted."""
    nats, _ = edited(lm, edits).surprisals(ids[:-1], ids[1:], state)
    return np.concatenate([np.zeros((1, ids.shape[1])), nats])


def effect(ablations: Ablations, feature: Feature, row: int, states: States, pool: Ints) -> Effect | None:
    """Return what ablating a unit does on and off a feature, compared with similar units of `pool`; None without any of these.

    A feature that is a number is on where it is above its median over the counted characters.
    """
    # The label of a character can help to predict the next one; a window is read from before its first counted place.
    now, before = ablations.places, ablations.places - 1
    least = 0 if feature.kind == "binary" else np.median(feature.values[before])
    on, known = feature.values > least, feature.known
    helped, others = on[before] & known[before], ~on[before] & known[before]
    closing = helped & ~on[now] & known[now]
    mine = int(np.flatnonzero(ablations.rows == row)[0])
    peers = _peers(ablations, mine, states, pool)
    if not helped.any() or not others.any() or not peers:
        return None
    gains = ablations.bits[:, helped].mean(1)
    off = float(ablations.bits[mine, others].mean())
    percentile = 100 * float((gains[peers] < gains[mine]).mean())
    ratio = float(gains[mine] / max(off, 1e-6))
    return Effect(
        on_bits=float(gains[mine]),
        off_bits=off,
        closing_bits=float(ablations.bits[mine, closing].mean()) if closing.any() else None,
        ratio=ratio,
        percentile=percentile,
        controls=len(peers),
        controls_99=float(np.quantile(gains[peers], 0.99)),
        characters_on=int(helped.sum()),
        passes=bool(percentile >= USES_PERCENTILE and ratio >= USES_RATIO and gains[mine] > 0),
    )


def _peers(ablations: Ablations, mine: int, states: States, pool: Ints) -> list[int]:
    """Return the ablated units of `pool` in the layer of one that vary most like it."""
    layer = states.units[ablations.rows[mine]][0]
    spread = np.array([_deviation(states, int(row)) for row in ablations.rows])
    controls = np.flatnonzero(np.isin(ablations.rows, pool))
    peers = [int(k) for k in controls if states.units[ablations.rows[k]][0] == layer]
    return sorted(peers, key=lambda k: abs(spread[k] - spread[mine]))[:CONTROLS]


def _deviation(states: States, row: int) -> float:
    counts = np.bincount(states.codes[row], minlength=256)
    mean = counts @ states.levels[row] / counts.sum()
    return float(np.sqrt(counts @ (states.levels[row] - mean) ** 2 / counts.sum()))


def verdict(effect: Effect | None) -> tuple[str, str]:
    """Return the verdict that a unit which tracks a feature earns by its ablation, and what kept it from `uses`."""
    if effect is None:
        why = "causal test skipped: too many units are as good, or the feature is never both on and off"
    elif effect.passes:
        return "uses", ""
    elif effect.percentile < USES_PERCENTILE or effect.on_bits <= 0:
        why = f"ablated, it costs more than only {effect.percentile:.0f} % of units like it"
    else:
        why = f"ablated, it costs {effect.ratio:.1f} times as much where the feature is on as where it is off"
    return "tracks", why
