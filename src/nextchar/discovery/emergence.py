"""When a claim came true: the unit that follows a feature in the end, and the best probe, at the checkpoints of a run."""

from pathlib import Path
from typing import Any

import numpy as np

from nextchar.discovery.claims import Claims
from nextchar.discovery.probes import probe
from nextchar.discovery.scores import strengths
from nextchar.discovery.search import Found, Say
from nextchar.discovery.states import read_states
from nextchar.errors import ModelFileError
from nextchar.storage import CHECKPOINTS, read_model, to_language_model


def checkpoints(run: Path) -> list[tuple[int, Path]]:
    """Return the steps and files of what a run kept while it learned, in order.

    Raises:
        ModelFileError: It kept none.
    """
    files = sorted((run / CHECKPOINTS).glob("step-*.safetensors"))
    if not files:
        raise ModelFileError(
            f"{run} holds no checkpoints; train with --keep-checkpoints to follow claims over time"
        )
    return sorted((int(file.stem.removeprefix("step-")), file) for file in files)


def births_of(
    kept: list[tuple[int, Path]], found: Found, claims: Claims, *, say: Say = len
) -> dict[str, Any]:
    """Return, for every feature, strengths over the steps: of the final unit, of the best unit then, of 16 and of all units.

    All are held-out strengths; the final unit is fixed by the last model, so its curve cannot pick the luckiest of each step.
    """
    rows = {unit: row for row, unit in enumerate(found.states.units)}
    curves: dict[str, Any] = {"steps": [], "bits": []}
    curves["features"] = {
        claim.feature: {"unit": [], "best": [], "probe_16": [], "probe_all": []} for claim in claims.claims
    }
    for step, path in kept:
        say(f"checkpoint of step {step:,}")
        states = read_states(to_language_model(read_model(path)), found.ids)
        places = found.halves.held
        held = strengths(states, found.features, places)
        probes = probe(
            states, found.features, found.halves, np.asarray(found.ids, np.int64), found.search.seed
        )
        curves["steps"].append(step)
        curves["bits"].append(round(float(states.surprisal[places].mean() / np.log(2)), 4))
        for f, feature in enumerate(found.features):
            mine = curves["features"][feature.name]
            mine["unit"].append(round(float(abs(held[rows[claims[feature.name].unit], f])), 4))
            mine["best"].append(round(float(np.abs(held[:, f]).max()), 4))
            mine["probe_16"].append(round(probes[f].strength["16"], 4))
            mine["probe_all"].append(round(probes[f].strength["all"], 4))
    return curves
