"""How much of a feature is in 1, 2, 4, 8, 16 or all units: linear probes from one Gram matrix, beside a task with no sense.

Units are added one by one, each time the one that explains most of what is left (orthogonal matching pursuit, Pati et al.
1993). The control task gives every pair of last characters a label at random (Hewitt & Liang 2019): what a probe can learn
of that is memory of its own, not of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nextchar.discovery.features import Feature
from nextchar.discovery.nulls import as_codes
from nextchar.discovery.scores import Doubles, auc
from nextchar.discovery.states import LEVELS, Ints, Split, States

SIZES = (1, 2, 4, 8, 16)
RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Probe:
    """One feature, read from more and more units.

    Attributes:
        rows: The first 16 units that were taken, as rows of the states, in order.
        strength: |2 AUC - 1| or r on the held-out half with 1, 2, 4, 8, 16 and all units.
        control: The same for labels that only follow from the last two characters, at random, with all units.
    """

    rows: tuple[int, ...]
    strength: dict[str, float]
    control: float


def probe(states: States, features: Sequence[Feature], halves: Split, last: Ints, seed: int) -> list[Probe]:
    """Fit probes of every feature on one half and score them on the other; `last` is the id of each character, `(T,)`."""
    fit = states.standardized(halves.fit)
    size = fit.shape[1]
    gram = (fit @ fit.T / size).double().numpy()
    labels = [_target(feature) for feature in features]
    labels += [_control(label, last, seed) for label in labels]
    wanted = np.stack([_standard(label[halves.fit]) for label in labels], 1)
    # What a feature is unknown at counts for nothing.
    known = np.stack([feature.known[halves.fit] for feature in features] * 2, 1)
    together = (fit @ torch.from_numpy((wanted * known).astype(np.float32)) / size).double().numpy()
    del fit
    weights = [[_sparse(gram, column, count) for count in SIZES] for column in together.T[: len(features)]]
    dense = np.linalg.solve(gram + RIDGE * np.eye(len(gram)), together)
    columns = [w for each in weights for w, _ in each] + list(dense.T)
    held = _project(states, halves.held, np.stack(columns, 1))
    return [
        _scored(feature, halves.held, held, (index, len(features)), weights[index][-1][1], labels)
        for index, feature in enumerate(features)
    ]


def _scored(
    feature: Feature,
    places: Ints,
    held: Doubles,
    index: tuple[int, int],
    rows: list[int],
    labels: list[Doubles],
) -> Probe:
    place, count = index
    known = feature.known[places]
    strength = {
        str(size): _strength(feature.kind, held[known, place * len(SIZES) + k], labels[place][places][known])
        for k, size in enumerate(SIZES)
    }
    dense = held[:, count * len(SIZES) :]
    strength["all"] = _strength(feature.kind, dense[known, place], labels[place][places][known])
    control = _strength(feature.kind, dense[known, count + place], labels[count + place][places][known])
    return Probe(tuple(rows), strength, control)


def _target(feature: Feature) -> Doubles:
    """Return what is to be read: the label; of an angle, its sine."""
    values = feature.values.astype(np.float64)
    return np.sin(2 * np.pi * values) if feature.kind == "cyclic" else values


def _standard(label: Doubles) -> Doubles:
    deviation = label.std()
    return (label - label.mean()) / deviation if deviation > 0 else label * 0


def _control(label: Doubles, last: Ints, seed: int) -> Doubles:
    """Return labels as frequent as a feature's, but drawn once for every pair of last characters."""
    pair = last.astype(np.int64) * (int(last.max()) + 1) + np.concatenate([[0], last[:-1]])
    _, number = np.unique(pair, return_inverse=True)
    drawn = np.random.default_rng(seed).choice(label, int(number.max()) + 1)
    return drawn[number]


def _sparse(gram: Doubles, together: Doubles, count: int) -> tuple[Doubles, list[int]]:
    """Return the weights of at most `count` units, taken one after the other, `(U,)`, and which they are."""
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
    """Return what probes `(U, P)` read at some places, `(places, P)`."""
    held: Tensor = states.standardized(places)
    return (torch.from_numpy(weights.astype(np.float32)).T @ held).T.double().numpy()


def _strength(kind: str, read: Doubles, label: Doubles) -> float:
    """Return |2 AUC - 1|, in 256 levels of equal rank, or |r|."""
    if kind != "binary":
        moves = read.std() > 0 and label.std() > 0
        return float(abs(np.corrcoef(read, label)[0, 1])) if moves else 0.0
    codes = as_codes(read)
    off, on = (np.bincount(codes[(label != 0) == side], minlength=LEVELS) for side in (False, True))
    return float(abs(2 * auc(off, on) - 1))
