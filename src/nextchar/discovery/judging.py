"""Judging one feature: its best unit is chosen on one half of the text, scored on the other, and compared with every null.

The verdicts, each of which requires all those before it: `correlates` (the held-out interval excludes chance), `significant`
(in at most 5 % of shifts is the best of all units as strong, adjusted over all features), `detects` (stronger than any unit of
an untrained network and than any table of the last 1 to 8 characters), `tracks` (still so 15 characters and more after the label
changed, and accurate: MCC at least 0.8, or |r| at least 0.9), `uses` (`nextchar.discovery.ablation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import scores
from nextchar.discovery.nulls import as_codes
from nextchar.discovery.scores import Bools, Doubles, blocks_of, draw_blocks, interval
from nextchar.discovery.states import LEVELS, Ints, States
from nextchar.discovery.study import Study
from nextchar.features.feature import Feature

VERDICTS = ("nothing", "correlates", "significant", "detects", "tracks", "uses")
ALPHA = 0.05
CANDIDATES = 8  # strongest units on the fit half, of which the one with the best threshold is taken
LATE = 15  # characters after a change, from which on a memory is needed
MIN_LATE = 50
TRACKS_MCC, TRACKS_R = 0.8, 0.9


@dataclass(frozen=True, slots=True)
class TableLead:
    """The best table of suffixes, and the unit's lead over it in strength.

    Attributes:
        k: Characters in the table's suffixes.
        best: Strength of the table.
        lead_low: Lower end of the 95 % interval of the unit's lead.
        lead_high: Upper end.
    """

    k: int
    best: float
    lead_low: float
    lead_high: float


@dataclass(frozen=True, slots=True)
class LateLead(TableLead):
    """The same at characters that are 15 or more after a change of the label.

    Attributes:
        strength: Of the unit there.
        characters: How many there are with the feature on.
    """

    strength: float
    characters: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Scores of the best unit of a feature; strengths are |2 AUC - 1| or |r| on the held-out half.

    Attributes:
        row: The unit, as a row of the states.
        sign: 1 if the unit is high where the feature is on, -1 if it is low.
        threshold: Level above (below) which the unit predicts the feature; -1 if there is none.
        scores: By name: auc, balanced_accuracy, mcc, average_precision, stratified_auc; or r and eta_squared.
        strength: Of the unit.
        low: Lower end of its 95 % interval.
        high: Upper end.
        suffix: Comparison with tables of suffixes.
        deep: The same long after a change; None if there are too few such characters.
    """

    row: int
    sign: int
    threshold: int
    scores: dict[str, float]
    strength: float
    low: float
    high: float
    suffix: TableLead
    deep: LateLead | None


def choose_unit(study: Study, feature: Feature, fit: Doubles) -> tuple[int, int]:
    """Return row and sign of the best unit of a feature on the fit half, given the signed strengths there, `(U,)`."""
    order = np.argsort(-np.abs(fit), kind="stable")[:CANDIDATES]
    if feature.kind == "binary":
        best = [
            scores.mcc(*_level_counts(study, feature, int(row), _sign(fit[row]), study.halves.fit)).max()
            for row in order
        ]
        order = order[[int(np.argmax(best))]]
    return int(order[0]), _sign(fit[order[0]])


def _sign(value: float) -> int:
    return -1 if value < 0 else 1


def _oriented(states: States, row: int, sign: int, places: Ints) -> npt.NDArray[np.uint8]:
    codes = states.codes[row, places]
    return codes if sign > 0 else (LEVELS - 1 - codes).astype(np.uint8)


def _level_counts(study: Study, feature: Feature, row: int, sign: int, places: Ints) -> tuple[Ints, Ints]:
    """Return how often each level of a unit occurs where the feature is off, and where it is on, `(256,)` each."""
    codes = _oriented(study.states, row, sign, places)
    off, on = scores.tally(codes, feature.values[places] != 0, feature.known[places], np.zeros(len(places), np.int64))
    return off[0], on[0]


def judge(study: Study, feature: Feature, fit: Doubles) -> Evidence:
    """Choose the unit of a feature, given the signed strengths `(U,)` on the fit half, and score it on the other half."""
    row, sign = choose_unit(study, feature, fit)
    if feature.kind == "binary":
        return _judge_binary(study, feature, row, sign)
    return _judge_ordinal(study, in_phase(study, feature, row), row, sign if feature.kind == "ordinal" else 1)


def in_phase(study: Study, feature: Feature, row: int) -> Feature:
    """Return a cyclic feature as the sine wave that fits a unit best on the fit half; other features unchanged."""
    if feature.kind != "cyclic":
        return feature
    places = study.halves.fit
    waves = [turn(2 * np.pi * feature.values.astype(np.float64)) for turn in (np.sin, np.cos)]
    columns = np.stack([np.ones(len(places)), *(wave[places] for wave in waves)], 1)
    weights = np.linalg.lstsq(columns, study.states.values([row], places)[0], rcond=None)[0]
    wave = weights[1] * waves[0] + weights[2] * waves[1]
    return Feature(feature.name, "ordinal", wave.astype(np.float32), feature.known, counts=False)


def _judge_binary(study: Study, feature: Feature, row: int, sign: int) -> Evidence:
    places = study.halves.held
    threshold = int(np.argmax(scores.mcc(*_level_counts(study, feature, row, sign, study.halves.fit))))
    off, on = _level_counts(study, feature, row, sign, places)
    codes = _oriented(study.states, row, sign, places)
    label, known = feature.values[places] != 0, feature.known[places]
    strata = scores.tally(codes, label, known, np.asarray(study.ids, np.int64)[places])
    absent, present = (counts.sum(1) for counts in strata)
    weight = absent * present / (absent + present + 1)
    hits, rejections = on[threshold + 1 :].sum() / max(on.sum(), 1), off[: threshold + 1].sum() / max(off.sum(), 1)
    measured = {
        "auc": float(scores.auc(off, on)),
        "balanced_accuracy": float(hits + rejections) / 2,
        "mcc": float(scores.mcc(off, on)[threshold]),
        "average_precision": scores.average_precision(off, on),
        "stratified_auc": float((scores.auc(*strata) * weight).sum() / max(weight.sum(), 1e-9)),
    }
    tables = [as_codes(each)[places] for each in study.suffixes.predictions(feature, study.halves.fit)]
    resampled = _Resampled("binary", [codes, *tables], label, blocks_of(places, feature), study.search.seed)
    return _evidence(feature, places, resampled, (row, sign, threshold), measured, known)


def _judge_ordinal(study: Study, feature: Feature, row: int, sign: int) -> Evidence:
    places = study.halves.held
    x, y, known = study.states.values([row], places)[0], feature.values[places], feature.known[places]
    measured = {"r": float(scores.correlation(scores.moments(x, y, known, np.zeros(len(x), np.int64)))[0])}
    measured["eta_squared"] = scores.eta_squared(x[known], y[known])
    tables = [each[places] for each in study.suffixes.predictions(feature, study.halves.fit)]
    resampled = _Resampled("ordinal", [sign * x, *tables], y, blocks_of(places, feature), study.search.seed)
    return _evidence(feature, places, resampled, (row, sign, -1), measured, known)


@dataclass(frozen=True, slots=True)
class _Resampled:
    """Strengths of the predictors (a unit, then tables of suffixes) under resampling of blocks: 2 AUC - 1, or r."""

    kind: str
    predictors: Sequence[npt.NDArray[Any]]
    label: npt.NDArray[Any]
    block: Ints
    seed: int

    def at(self, which: int, where: Bools) -> Doubles:
        """Return a predictor's strength where `where` is true: on the text, then in each draw, `(1 + draws,)`."""
        count, given = int(self.block.max()) + 1, (self.predictors[which], self.label, where, self.block)
        weights = np.concatenate([np.ones((1, count)), draw_blocks(count, self.seed)])
        if self.kind == "binary":
            off, on = scores.tally(*given)
            return 2 * scores.auc(weights @ off, weights @ on) - 1
        return scores.correlation(weights @ scores.moments(*given))


def _evidence(
    feature: Feature,
    places: Ints,
    resampled: _Resampled,
    chosen: tuple[int, int, int],
    measured: dict[str, float],
    known: Bools,
) -> Evidence:
    strengths, suffix = _lead(resampled, known)
    low, high = interval(strengths[1:])
    deep = None
    late = known & (feature.age()[places] >= LATE)
    on = late & (feature.values[places] != 0) if feature.kind == "binary" else late
    if on.sum() >= MIN_LATE and (late & ~on).sum() >= (MIN_LATE if feature.kind == "binary" else 0):
        there, lead = _lead(resampled, late)
        bounds = lead.lead_low, lead.lead_high
        deep = LateLead(lead.k, lead.best, *bounds, float(there[0]), int(on.sum()))
    return Evidence(*chosen, measured, float(strengths[0]), low, high, suffix, deep)


def _lead(resampled: _Resampled, where: Bools) -> tuple[Doubles, TableLead]:
    """Return the unit's strengths `(1 + draws,)`, and its lead over the best table, where `where` is true."""
    mine, *tables = (resampled.at(k, where) for k in range(len(resampled.predictors)))
    best = int(np.argmax([each[0] for each in tables]))
    return mine, TableLead(best + 1, float(tables[best][0]), *interval(mine[1:] - tables[best][1:]))


def verdict(evidence: Evidence, *, q: float, untrained: float) -> tuple[str, str]:  # noqa: PLR0911  one return per verdict
    """Return the highest verdict that an association earns, and what kept it from the next.

    Args:
        evidence: Of the feature.
        q: Of the shifts, family-wise over units and adjusted over features.
        untrained: Strength of the best unit of untrained and shuffled networks.
    """
    suffix, deep = evidence.suffix, evidence.deep
    if evidence.low <= 0:
        return "nothing", "the held-out interval includes chance"
    if q > ALPHA:
        return "correlates", f"the best of all units by chance is as strong: q = {q:.3f}"
    if evidence.low <= untrained:
        return "significant", f"a unit of an untrained network has {untrained:.3f}"
    if suffix.lead_low <= 0:
        return "significant", f"a table of the last {suffix.k} characters has {suffix.best:.3f}"
    if not deep:
        return "detects", f"too few characters {LATE} or more after a change to show a memory"
    if deep.lead_low <= 0:
        return "detects", f"{LATE} characters after a change a table of the last {deep.k} does as well"
    if "mcc" in evidence.scores and evidence.scores["mcc"] < TRACKS_MCC:
        return "detects", f"its threshold is right too rarely: MCC {evidence.scores['mcc']:.3f}"
    if "r" in evidence.scores and abs(evidence.scores["r"]) < TRACKS_R:
        return "detects", f"it is not close enough: r = {evidence.scores['r']:.3f}"
    return "tracks", "causal test skipped"
