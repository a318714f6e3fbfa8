"""Whether the network uses what a unit holds: its cell set to its mean while reading, beside units that are alike but unchosen.

A hundred units and more are ablated one by one, each in lanes of its own, on the same stretches of held-out text. What that
costs at every character is compared where a feature is on, where it is off, and where it is about to end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.discovery.features import Feature
from nextchar.discovery.interventions import Edit, clamp, intervening
from nextchar.discovery.scores import Doubles
from nextchar.discovery.states import CHUNK, Ints, States, Unit, as_memory
from nextchar.kernels.threads import parallel_for
from nextchar.language_model import LanguageModel
from nextchar.model.compiled import own_threads
from nextchar.model.state import State, map_state

STRETCH, WARM = 256, 64  # characters of a stretch, of which the first are read but not counted
STRETCHES = 16
MR = 192  # lanes read side by side
CONTROLS, SPARE = 100, 130  # matched units, and of how many in a hundred of these they are the nearest
USES_PERCENTILE, USES_RATIO = 99.0, 2.0
BITS = 1 / np.log(2)


@dataclass(frozen=True, slots=True)
class Ablations:
    """What setting single units to their mean costs.

    Attributes:
        places: Which characters were counted, ascending, `(P,)`.
        rows: Which units, as rows of the states, `(A,)`.
        bits: More bits for each character than without, `(A, P)`.
    """

    places: Ints
    rows: Ints
    bits: npt.NDArray[np.float32]


def choose_stretches(features: Sequence[Feature], held: Ints, count: int = STRETCHES) -> Ints:
    """Return where stretches begin: half of them spread over the held-out half, half where rare features come and go."""
    runs = np.split(held, np.flatnonzero(np.diff(held) > 1) + 1)
    starts = np.concatenate([run[: max(0, len(run) - STRETCH) : STRETCH] for run in runs])
    if len(starts) <= count:
        return starts
    chosen = list(starts[np.linspace(0, len(starts) - 1, count - count // 2).astype(int)])
    inside = starts[:, None] + np.arange(WARM, STRETCH)
    shares = [(each.positive & each.known)[inside].mean(1) for each in features if each.kind == "binary"]
    covered = [share[np.searchsorted(starts, chosen)].sum() for share in shares]
    while len(chosen) < count:
        left = ~np.isin(starts, chosen)
        if shares:
            poorest = int(np.argmin(covered))
            # Where it is on half of the time, it is also off half of the time.
            worth = np.where(left, -np.abs(shares[poorest] - 0.5), -1.0)
        else:
            worth = left.astype(float)
        best = int(np.argmax(worth))
        chosen.append(starts[best])
        covered = [value + share[best] for value, share in zip(covered, shares, strict=True)]
        if shares and shares[poorest][best] == 0:
            covered[poorest] = np.inf
    return np.sort(np.array(chosen))


def beside(states: States, rows: Sequence[int], seed: int, count: int = CONTROLS) -> Ints:
    """Return units to compare some with, as rows: so many more than are needed of each of their layers, at random."""
    layers = np.array([layer for layer, _ in states.units])
    random = np.random.default_rng(seed)
    pool: set[int] = set()
    for layer in sorted({int(layers[row]) for row in rows}):
        there = np.setdiff1d(np.flatnonzero(layers == layer), rows)
        pool |= set(random.choice(there, min(len(there), SPARE * count // 100), replace=False).tolist())
    return np.array(sorted(pool), np.int64)


def ablate(lm: LanguageModel, ids: npt.NDArray[Any], states: States, rows: Ints, starts: Ints) -> Ablations:
    """Set each of some units so that it reads as its mean over the text, one at a time, and see what every character costs then."""
    inputs = torch.from_numpy(np.stack([np.asarray(ids[at : at + STRETCH], np.int64) for at in starts], 1))
    begin = begin_states(lm, ids, starts)
    clean = costs(lm, inputs, begin, [])
    means = np.array([states.levels[row][states.codes[row]].mean() for row in rows])
    means = as_memory(means, lm.network.architecture.cell)
    bits = np.empty((len(rows), (STRETCH - WARM) * len(starts)), np.float32)
    each = max(1, MR // len(starts))

    def some(first_group: int, after_group: int) -> None:
        for first in range(first_group * each, min(after_group * each, len(rows)), each):
            mine = slice(first, first + each)
            units = [states.units[row] for row in rows[mine]]
            edits = _one_each(units, means[mine], len(starts))
            paid = costs(lm, inputs.repeat(1, len(units)), repeated(begin, len(units)), edits)
            more = (paid - np.tile(clean, (1, len(units))))[WARM:]
            more = more.reshape(STRETCH - WARM, len(units), len(starts)).transpose(1, 2, 0)
            bits[mine] = (more * BITS).reshape(len(units), -1)

    with own_threads():
        parallel_for(some, -(-len(rows) // each), 1)
    places = (starts[:, None] + np.arange(WARM, STRETCH)).ravel()
    return Ablations(places, rows, bits)


def _one_each(units: Sequence[Unit], values: npt.NDArray[Any], lanes: int) -> list[Edit]:
    """Return edits that hold one unit in each group of so many lanes."""
    edits = []
    for layer in sorted({layer for layer, _ in units}):
        mine = [k for k, unit in enumerate(units) for _ in range(lanes) if unit[0] == layer]
        where = tuple(
            k * lanes + lane for k, unit in enumerate(units) for lane in range(lanes) if unit[0] == layer
        )
        held = clamp(torch.from_numpy(values[mine])[:, None])
        edits.append(Edit(layer, tuple(units[k][1] for k in mine), held, lanes=where, paired=True))
    return edits


def repeated(state: State, times: int) -> State:
    """Return a state with all its lanes so many times, one set after the other."""
    return map_state(lambda vector: vector.repeat(times, 1), state)


def begin_states(lm: LanguageModel, ids: npt.NDArray[Any], starts: Ints, before: int = 512) -> State:
    """Return the states in which stretches begin: after START or the characters before them, up to 512."""
    network = lm.network
    rows = np.full((before, len(starts)), lm.vocabulary.start, np.int64)
    for lane, at in enumerate(starts):
        there = np.asarray(ids[max(0, at - before) : at], np.int64)
        rows[before - len(there) :, lane] = there
    with torch.no_grad(), network.threads():
        state = network.empty_state(len(starts))
        for first in range(0, before, CHUNK):
            _, state = network(torch.from_numpy(rows[first : first + CHUNK]), state)
    return state


def costs(lm: LanguageModel, inputs: Tensor, state: State, edits: Sequence[Edit]) -> Doubles:
    """Return -ln p of each id `(T, N)` under edits; of the first nothing is expected, so it costs 0."""
    network, parts, last = lm.network, [], None
    with torch.no_grad():
        for first in range(0, len(inputs), CHUNK):
            chunk = inputs[first : first + CHUNK]
            recurrence = intervening(edits, layers=network.architecture.layers, first_step=first)
            logits, state = network(chunk, state, recurrence=recurrence)
            before = logits[:-1] if last is None else torch.cat([last, logits[:-1]])
            wanted = chunk[1:] if last is None else chunk
            parts.append(-before.log_softmax(2).gather(2, wanted[..., None])[..., 0])
            last = logits[-1:]
    paid = torch.cat([torch.zeros(1, inputs.shape[1]), *parts])
    return paid.double().numpy()


def effect(ablations: Ablations, feature: Feature, row: int, states: States, pool: Ints) -> dict[str, Any]:
    """Return what ablating a unit does on and off a feature, and its place among units of `pool` that are like it.

    A feature that is a number is on where it is above its median of the characters counted.
    """
    # What is known of a character can help to expect the next; the stretches are read from before the first place.
    now, before = ablations.places, ablations.places - 1
    least = 0 if feature.kind == "binary" else np.median(feature.values[before])
    on, known = feature.values > least, feature.known
    helped, others = on[before] & known[before], ~on[before] & known[before]
    closing = helped & ~on[now] & known[now]
    mine = int(np.flatnonzero(ablations.rows == row)[0])
    layer = states.units[row][0]
    spread = np.array([_spread(states, int(each)) for each in ablations.rows])
    unclaimed = np.flatnonzero(np.isin(ablations.rows, pool))
    peers = [int(k) for k in unclaimed if states.units[ablations.rows[k]][0] == layer]
    peers = sorted(peers, key=lambda k: abs(spread[k] - spread[mine]))[:CONTROLS]
    if not helped.any() or not others.any() or not peers:
        return {}
    gains = ablations.bits[:, helped].mean(1)
    off = float(ablations.bits[mine, others].mean())
    percentile = 100 * float((gains[peers] < gains[mine]).mean())
    ratio = float(gains[mine] / max(off, 1e-6))
    return {
        "on_bits": float(gains[mine]),
        "off_bits": off,
        "closing_bits": float(ablations.bits[mine, closing].mean()) if closing.any() else None,
        "ratio": ratio,
        "percentile": percentile,
        "controls": len(peers),
        "controls_99": float(np.quantile(gains[peers], 0.99)),
        "characters_on": int(helped.sum()),
        "passes": bool(percentile >= USES_PERCENTILE and ratio >= USES_RATIO and gains[mine] > 0),
    }


def used(effect: dict[str, Any]) -> tuple[str, str]:
    """Return the word that a unit which tracks a feature earns by what its ablation did, and what kept it from `uses`."""
    if not effect:
        why = "it was not ablated: too many units are as good, or the feature is never both on and off"
    elif effect["passes"]:
        return "uses", ""
    elif effect["percentile"] < USES_PERCENTILE or effect["on_bits"] <= 0:
        why = f"ablated, it costs more than only {effect['percentile']:.0f} % of units like it"
    else:
        why = f"ablated, it costs {effect['ratio']:.1f} times as much where the feature is on as where it is off"
    return "tracks", why


def _spread(states: States, row: int) -> float:
    counts = np.bincount(states.codes[row], minlength=256)
    mean = counts @ states.levels[row] / counts.sum()
    return float(np.sqrt(counts @ (states.levels[row] - mean) ** 2 / counts.sum()))
