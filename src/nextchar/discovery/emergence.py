"""Emergence: the strength of every claimed unit, of the best unit and of probes at the checkpoints of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextchar.discovery.claims import Claims
from nextchar.discovery.probes import probe
from nextchar.discovery.scores import strengths
from nextchar.discovery.states import read_states
from nextchar.discovery.study import OnProgress, Study, ignore
from nextchar.errors import ModelFileError
from nextchar.storage import CHECKPOINTS, read_model, to_language_model

DIGITS = 4

Checkpoint = tuple[int, Path]
"""Step and file."""


def find_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the checkpoints of a run, in order.

    Raises:
        ModelFileError: It has none.
    """
    files = sorted((run / CHECKPOINTS).glob("step-*.safetensors"))
    if not files:
        raise ModelFileError(f"{run} holds no checkpoints; train with --keep-checkpoints to follow claims over time")
    return sorted((int(file.stem.removeprefix("step-")), file) for file in files)


def emergence(
    checkpoints: Sequence[Checkpoint], study: Study, claims: Claims, on_progress: OnProgress = ignore
) -> dict[str, Any]:
    """Return `steps`, `bits` per character and, for every feature, held-out strengths at every checkpoint, for JSON.

    The strengths are those of the claimed unit, of the best unit at that step, and of probes of 16 and of all units. The claimed
    unit is chosen once, at the end of training, so its curve does not select the best unit anew at every step.
    """
    rows = {unit: row for row, unit in enumerate(study.states.units)}
    features: dict[str, dict[str, list[float]]] = {
        claim.feature: {"unit": [], "best": [], "probe_16": [], "probe_all": []} for claim in claims.claims
    }
    bits = []
    last, places = np.asarray(study.ids, np.int64), study.halves.held
    for step, path in checkpoints:
        on_progress(f"checkpoint of step {step:,}")
        states = read_states(to_language_model(read_model(path)), study.ids)
        held = np.abs(strengths(states, study.features, places))
        probes = probe(states, study.features, study.halves, last, study.search.seed)
        bits.append(round(float(states.surprisal[places].mean() / np.log(2)), DIGITS))
        for f, feature in enumerate(study.features):
            values = {
                "unit": held[rows[claims[feature.name].unit], f],
                "best": held[:, f].max(),
                "probe_16": probes[f].strength["16"],
                "probe_all": probes[f].strength["all"],
            }
            for name, value in values.items():
                features[feature.name][name].append(round(float(value), DIGITS))
    return {"steps": [step for step, _ in checkpoints], "bits": bits, "features": features}
