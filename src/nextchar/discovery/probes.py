"""Linear probes: how well 1, 2, 4, 8, 16 or all units together predict a feature, compared with a control task.

Units are added greedily, each time the one that explains most of the residual (orthogonal matching pursuit, Pati et al.
1993), from one Gram matrix. The control task gives every pair of last characters a random label (Hewitt & Liang 2019): a probe
that learns it memorises by itself instead of reading the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextchar.discovery.nulls import as_codes
from nextchar.discovery.scores import Doubles, auc
from nextchar.discovery.states import LEVELS, Ints, Split, States
from nextchar.features.feature import Feature

SIZES = (1, 2, 4, 8, 16)
RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Probe:
    """The probes of one feature.

    Attributes:
        units: The first 16 units, LAYER:UNIT, in the order in which they were added.
        strength: |2 AUC - 1| or |r| on the held-out half with "1", "2", "4", "8", "16" and "all" units.
        control: The same for the control task, with all units.
    """

    units: tuple[str, ...]
    strength: dict[str, float]
    control: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        selectivity = self.strength["all"] - self.control
        return {"units": list(self.units), **self.strength, "control": self.control, "selectivity": selectivity}


def probe(states: States, features: Sequence[Feature], halves: Split, last: Ints, seed: int) -> list[Probe]:
    """Fit probes of every feature on one half and score them on the other.

    Args:
        states: Of U units.
        features: F of them.
        halves: Of the text.
        last: The id of each character, `(T,)`.
        seed: Of the control task.
    """
    fit = states.standardized(halves.fit)
    size = fit.shape[1]
    gram = (fit @ fit.T / size).double().numpy()
    labels = [_target(feature) for feature in features]
    controls = [_control(label, last, seed) for label in labels]
    wanted = np.stack([_standard(label[halves.fit]) for label in labels + controls], 1)
    # Unknown labels have weight 0.
    known = np.stack([feature.known[halves.fit] for feature in features] * 2, 1)
    together = (fit @ torch.from_numpy((wanted * known).astype(np.float32)) / size).double().numpy()
    del fit
    sparse = [[_sparse(gram, column, count) for count in SIZES] for column in together.T[: len(features)]]
    dense = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), together)
    columns = [weights for each in sparse for weights, _ in each] + list(dense.T)
    predicted = _project(states, halves.held, np.stack(columns, 1))
    few, all_units, control = np.split(predicted, [-2 * len(features), -len(features)], 1)
    few = few.reshape(len(predicted), len(features), len(SIZES))
    probes = []
    for f, feature in enumerate(features):
        there = feature.known[halves.held]
        label, other = (each[f][halves.held][there] for each in (labels, controls))
        strength = {str(count): _strength(feature.kind, few[there, f, k], label) for k, count in enumerate(SIZES)}
        strength["all"] = _strength(feature.kind, all_units[there, f], label)
        units = tuple(states.name(row) for row in sparse[f][-1][1])
        probes.append(Probe(units, strength, _strength(feature.kind, control[there, f], other)))
    return probes


def _target(feature: Feature) -> Doubles:
    """Return the label to predict; of a cyclic feature the sine of its phase."""
    values = feature.values.astype(np.float64)
    return np.sin(2 * np.pi * values) if feature.kind == "cyclic" else values


def _standard(label: Doubles) -> Doubles:
    deviation = label.std()
    return (label - label.mean()) / deviation if deviation > 0 else label * 0


def _control(label: Doubles, last: Ints, seed: int) -> Doubles:
    """Return labels with the distribution of a feature's, drawn once for every pair of last characters."""
    pair = last.astype(np.int64) * (int(last.max()) + 1) + np.concatenate([[0], last[:-1]])
    _, number = np.unique(pair, return_inverse=True)
    drawn = np.random.default_rng(seed).choice(label, int(number.max()) + 1)
    return drawn[number]


def _sparse(gram: Doubles, together: Doubles, count: int) -> tuple[Doubles, list[int]]:
    """Add at most `count` units one by one; return their weights, 0 for all others `(U,)`, and their rows."""
    rows: list[int] = []
    left, weights = together.copy(), np.zeros(len(together))
    for _ in range(min(count, len(together))):
        left[rows] = 0
        best = int(np.argmax(np.abs(left)))
        if abs(left[best]) < 1e-9:
            break
        rows.append(best)
        square = gram[np.ix_(rows, rows)] + RIDGE * np.eye(len(rows))
        solved = np.linalg.solve(square, together[rows])
        left = together - gram[:, rows] @ solved
        weights[:] = 0
        weights[rows] = solved
    return weights, rows


def _project(states: States, places: Ints, weights: Doubles) -> Doubles:
    """Return the predictions of probes `(U, P)` at some places, `(places, P)`."""
    held: Tensor = states.standardized(places)
    return (torch.from_numpy(weights.astype(np.float32)).T @ held).T.double().numpy()


def _strength(kind: str, predicted: Doubles, label: Doubles) -> float:
    """Return |2 AUC - 1| of predictions in 256 levels of equal rank, or |r|."""
    if kind != "binary":
        constant = predicted.std() == 0 or label.std() == 0
        return 0.0 if constant else float(abs(np.corrcoef(predicted, label)[0, 1]))
    codes = as_codes(predicted)
    off, on = (np.bincount(codes[(label != 0) == side], minlength=LEVELS) for side in (False, True))
    return float(abs(2 * auc(off, on) - 1))
