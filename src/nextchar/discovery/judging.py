"""One feature before the court: its best unit, chosen on one half, scored on the other, against every null.

The words of the verdict, each of which asks for all before it: `correlates` (the held-out interval leaves out chance),
`significant` (rarer than 5 % as the best of all units by chance, and among all features), `detects` (stronger than any unit of
an untrained network, and than any table of the last 1 to 8 characters), `tracks` (still so 15 characters and more after the
label changed, and close to right: MCC at least 0.8, or |r| at least 0.9), `uses` (`nextchar.discovery.ablation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery.features import Feature
from nextchar.discovery.nulls import Suffixes, as_codes
from nextchar.discovery.scores import (
    Bools,
    Doubles,
    auc,
    average_precision,
    blocks_of,
    correlation,
    eta_squared,
    interval,
    mcc,
    moments,
    resampled,
    tally,
)
from nextchar.discovery.states import LEVELS, Ints, Split, States

VERDICTS = ("nothing", "correlates", "significant", "detects", "tracks", "uses")
CANDIDATES = 8  # strongest units on the fit half, of which the one with the best threshold is taken
TILE_DEPTH = 15  # characters after a change from which on a memory is needed
LEAST_DEEP = 50
TRACKS_MCC, TRACKS_R = 0.8, 0.9


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of one feature; strengths are |2 AUC - 1| or |r|, on the held-out half unless it is said otherwise.

    Attributes:
        row: The unit, as a row of the states.
        sign: 1 or -1: whether it goes with the feature or against it.
        threshold: Level above (below) which the unit says yes; -1 where there is none.
        scores: By name: auc, mcc, average_precision or r and eta_squared; stratified.
        strength: Of the unit.
        low: Where its 95 % interval begins.
        high: Where it ends.
        suffix: k of the best table, its strength, and the interval of the unit's lead over it.
        deep: The same at characters that are 15 or more after a change; empty where there are too few.
    """

    row: int
    sign: int
    threshold: int
    scores: dict[str, float]
    strength: float
    low: float
    high: float
    suffix: dict[str, Any]
    deep: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all features are judged with.

    Attributes:
        states: Of the model.
        halves: Of the text.
        suffixes: Of the text.
        last: The last character of each place, as an id, `(T,)`.
        seed: Of the bootstrap.
    """

    states: States
    halves: Split
    suffixes: Suffixes
    last: Ints
    seed: int


def choose_unit(bench: Bench, feature: Feature, fit: Doubles) -> tuple[int, int]:
    """Return row and sign of the unit that goes best with a feature on the fit half, `(U,)` signed strengths of which are given."""
    order = np.argsort(-np.abs(fit), kind="stable")[:CANDIDATES]
    if feature.kind == "binary":
        best = [
            mcc(*_whole(bench, feature, int(row), _sign(fit[row]), bench.halves.fit)).max() for row in order
        ]
        order = order[[int(np.argmax(best))]]
    return int(order[0]), _sign(fit[order[0]])


def _sign(value: float) -> int:
    return -1 if value < 0 else 1


def _oriented(states: States, row: int, sign: int, places: Ints) -> npt.NDArray[np.uint8]:
    codes = states.codes[row, places]
    return codes if sign > 0 else (LEVELS - 1 - codes).astype(np.uint8)


def _whole(bench: Bench, feature: Feature, row: int, sign: int, places: Ints) -> tuple[Ints, Ints]:
    """Return how often each level of a unit is where the feature is not, and where it is, `(256,)` each."""
    codes = _oriented(bench.states, row, sign, places)
    counts = tally(codes, feature.values[places] != 0, feature.known[places], np.zeros(len(places), np.int64))
    return counts.off[0], counts.on[0]


def judge(bench: Bench, feature: Feature, fit: Doubles) -> Evidence:
    """Choose the unit of a feature on the fit half, given its signed strengths there `(U,)`, and score it on the other."""
    row, sign = choose_unit(bench, feature, fit)
    if feature.kind == "binary":
        return _judge_binary(bench, feature, row, sign)
    return _judge_ordinal(bench, in_phase(bench, feature, row), row, sign if feature.kind == "ordinal" else 1)


def in_phase(bench: Bench, feature: Feature, row: int) -> Feature:
    """Return a cyclic feature as the wave that goes best with a unit on the fit half; another as it is."""
    if feature.kind != "cyclic":
        return feature
    places = bench.halves.fit
    waves = [turn(2 * np.pi * feature.values.astype(np.float64)) for turn in (np.sin, np.cos)]
    columns = np.stack([np.ones(len(places)), *(wave[places] for wave in waves)], 1)
    weights = np.linalg.lstsq(columns, bench.states.values([row], places)[0], rcond=None)[0]
    wave = weights[1] * waves[0] + weights[2] * waves[1]
    return Feature(feature.name, "ordinal", wave.astype(np.float32), feature.known, counts=False)


def _judge_binary(bench: Bench, feature: Feature, row: int, sign: int) -> Evidence:
    places = bench.halves.held
    threshold = int(np.argmax(mcc(*_whole(bench, feature, row, sign, bench.halves.fit))))
    off, on = _whole(bench, feature, row, sign, places)
    codes = _oriented(bench.states, row, sign, places)
    label, known = feature.values[places] != 0, feature.known[places]
    strata = tally(codes, label, known, bench.last[places])
    weight = strata.off.sum(1) * strata.on.sum(1) / (strata.off.sum(1) + strata.on.sum(1) + 1)
    scores = {
        "auc": float(auc(off, on)),
        "mcc": float(mcc(off, on)[threshold]),
        "average_precision": average_precision(off, on),
        "stratified_auc": float((auc(strata.off, strata.on) * weight).sum() / max(weight.sum(), 1e-9)),
    }
    tables = [as_codes(each)[places] for each in bench.suffixes.predictions(feature, bench.halves.fit)]
    compare = _Areas([codes, *tables], label, blocks_of(places, feature), bench.seed)
    return _evidence(feature, places, compare, (row, sign, threshold), scores, known)


def _judge_ordinal(bench: Bench, feature: Feature, row: int, sign: int) -> Evidence:
    places = bench.halves.held
    x, y, known = bench.states.values([row], places)[0], feature.values[places], feature.known[places]
    scores = {"r": float(correlation(moments(x, y, known, np.zeros(len(x), np.int64)))[0])}
    scores["eta_squared"] = eta_squared(x[known], y[known])
    tables = [each[places] for each in bench.suffixes.predictions(feature, bench.halves.fit)]
    compare = _Correlations([sign * x, *tables], y, blocks_of(places, feature), bench.seed)
    return _evidence(feature, places, compare, (row, sign, -1), scores, known)


@dataclass(frozen=True, slots=True)
class _Areas:
    """Strengths |2 AUC - 1| of a unit, the first of the predictors, and of tables, in resampled blocks."""

    predictors: Sequence[npt.NDArray[Any]]
    label: npt.NDArray[Any]
    block: Ints
    seed: int

    def at(self, which: int, where: Bools) -> Doubles:
        """Return a predictor's strength at some places: first as it is, then in each draw."""
        counts, weights = tally(self.predictors[which], self.label, where, self.block), self.weights()
        return 2 * auc(weights @ counts.off, weights @ counts.on) - 1

    def weights(self) -> Doubles:
        """Return how often each block counts: once, then as in each draw."""
        count = int(self.block.max()) + 1
        return np.concatenate([np.ones((1, count)), resampled(count, self.seed)])


class _Correlations(_Areas):
    """Correlations of a unit and of tables, in resampled blocks."""

    def at(self, which: int, where: Bools) -> Doubles:
        """Return a predictor's correlation at some places: first as it is, then in each draw."""
        return correlation(self.weights() @ moments(self.predictors[which], self.label, where, self.block))


def _evidence(
    feature: Feature,
    places: Ints,
    compare: _Areas,
    chosen: tuple[int, int, int],
    scores: dict[str, float],
    known: Bools,
) -> Evidence:
    mine, suffix = _lead(compare, known)
    low, high = interval(mine[1:])
    deep: dict[str, Any] = {}
    late = known & (feature.age()[places] >= TILE_DEPTH)
    on = late & (feature.values[places] != 0) if feature.kind == "binary" else late
    if on.sum() >= LEAST_DEEP and (late & ~on).sum() >= (LEAST_DEEP if feature.kind == "binary" else 0):
        there, deep = _lead(compare, late)
        deep |= {"strength": float(there[0]), "characters": int(on.sum())}
    return Evidence(*chosen, scores, float(mine[0]), low, high, suffix, deep)


def _lead(compare: _Areas, where: Bools) -> tuple[Doubles, dict[str, Any]]:
    """Return the unit's strength and its draws, and what the best table does there and by how much it is led."""
    mine = compare.at(0, where)
    tables = [compare.at(k, where) for k in range(1, len(compare.predictors))]
    best = int(np.argmax([each[0] for each in tables]))
    low, high = interval(mine[1:] - tables[best][1:])
    return mine, {"k": best + 1, "best": float(tables[best][0]), "lead_low": low, "lead_high": high}


def verdict(  # noqa: PLR0911  a rung each
    evidence: Evidence, *, q: float, untrained: float, alpha: float = 0.05
) -> tuple[str, str]:
    """Return the highest word that an association earns, and what kept it from the next.

    Args:
        evidence: Of the feature.
        q: Of the shifts, family-wise over units and adjusted over features.
        untrained: Strength of the best unit of the networks that were not trained.
        alpha: Which q is small enough.
    """
    suffix, deep = evidence.suffix, evidence.deep
    if evidence.low <= 0:
        return "nothing", "the held-out interval holds chance"
    if q > alpha:
        return "correlates", f"the best of all units by chance is as strong: q = {q:.3f}"
    if evidence.low <= untrained:
        return "significant", f"a unit of an untrained network has {untrained:.3f}"
    if suffix["lead_low"] <= 0:
        return "significant", f"a table of the last {suffix['k']} characters has {suffix['best']:.3f}"
    if not deep:
        return "detects", f"too few characters {TILE_DEPTH} or more after a change to show a memory"
    if deep["lead_low"] <= 0:
        return (
            "detects",
            f"{TILE_DEPTH} characters after a change a table of the last {deep['k']} does as well",
        )
    if "mcc" in evidence.scores and evidence.scores["mcc"] < TRACKS_MCC:
        return "detects", f"its threshold is right too rarely: MCC {evidence.scores['mcc']:.3f}"
    if "r" in evidence.scores and abs(evidence.scores["r"]) < TRACKS_R:
        return "detects", f"it is not close enough: r = {evidence.scores['r']:.3f}"
    return "tracks", "it was not ablated"
