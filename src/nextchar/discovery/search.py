"""The search: reads a text with a model and with what it is held against, scores every unit on every feature, and judges."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import nulls
from nextchar.discovery.claims import Claim, Claims, Search
from nextchar.discovery.feature_sets import Labeller, labeller
from nextchar.discovery.features import Feature, keep
from nextchar.discovery.judging import VERDICTS, Bench, Evidence, judge, verdict
from nextchar.discovery.probes import Probe, probe
from nextchar.discovery.scores import Doubles, design, signed, strengths
from nextchar.discovery.states import Split, States, most_alike, read_states, split
from nextchar.discovery.syntax import EXTRA, missing
from nextchar.errors import TextError
from nextchar.language_model import LanguageModel
from nextchar.storage import to_file, to_language_model

SHORTEST = 5000  # characters below which halves, gaps and blocks are too small to say anything
ALPHA = 0.05
RUNNERS_UP = 5

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Found:
    """What the search has in hand once everything is read and scored; T characters, U units, F features.

    Attributes:
        lm: The model.
        ids: The text, `(T,)`.
        text: The same as characters, one for each id.
        label: Makes the features of any text.
        features: Those that come often enough.
        states: Of the model.
        halves: To choose on and to score on.
        fit: Signed strengths on the one half, `(U, F)`.
        held: On the other.
        shifted: The same as the shifts count it: what is unknown stays where it is, at no weight.
        chance: Of the best unit in every shift, `(shifts, F)`.
        free: Of the best unit of untrained and shuffled networks, in turns, `(networks, F)`.
        turned: Of the best random direction in every rotation, `(rotations, F)`.
        search: The settings.
        kind: Of text the features are for.
        dropped: Features that come too rarely, and how rarely.
    """

    lm: LanguageModel
    ids: npt.NDArray[Any]
    text: str
    label: Labeller
    features: list[Feature]
    states: States
    halves: Split
    fit: Doubles
    held: Doubles
    shifted: Doubles
    chance: Doubles
    free: Doubles
    turned: Doubles
    search: Search
    kind: str
    dropped: dict[str, str]


def look(
    lm: LanguageModel, text: str | bytes | npt.NDArray[Any], features: str, search: Search, *, say: Say = len
) -> Found:
    """Read the text with the model and with what is held against it, and score every unit on every feature."""
    if lm.network.head.weight.device.type != "cpu":
        lm = to_language_model(to_file(lm))  # what is counted is numpy's, and edits are made step by step
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text)
    if len(ids) < SHORTEST:
        raise TextError(
            f"the text has {len(ids):,} characters; discovering needs {SHORTEST:,}, better 200,000"
        )
    # A byte model's bytes stand as characters of the same number, so that a label is a byte's.
    plain = "".join(map(chr, np.array(lm.vocabulary.codes)[ids].tolist()))
    name, label = labeller(features, plain)
    if absent := missing(name.split()[-1]):
        say(f"features by {', '.join(absent)} are left out; {EXTRA} brings them")
    halves = split(len(ids))
    kept, dropped = keep(
        list(label(plain)), search.least_positives, search.least_runs, (halves.fit, halves.held)
    )
    if not kept:
        raise TextError(
            f"none of the {len(dropped)} features comes often enough in {len(ids):,} characters; give more text"
        )
    say(f"reading {len(ids):,} characters, {len(kept)} features of kind {name}")
    states = read_states(lm, ids)
    fit, held = (strengths(states, kept, half) for half in (halves.fit, halves.held))
    ranks, scaled = states.ranks(halves.held), states.standardized(halves.held)
    shifted = signed(ranks, scaled, design(kept, halves.held))
    say(f"{search.shifts} shifts")
    amounts = nulls.shifts(len(halves.held), search.shifts, search.seed)
    chance = nulls.shifted_best(ranks, scaled, kept, halves.held, amounts)
    del ranks, scaled
    say("networks that were not trained")
    free = np.zeros((2 * search.untrained, len(kept)))
    for k in range(search.untrained):
        for which, make in enumerate((nulls.untrained, nulls.shuffled)):
            twin = read_states(make(lm, search.seed + k), ids)
            free[2 * k + which] = np.abs(strengths(twin, kept, halves.held)).max(0)
            del twin
    say(f"{search.rotations} random rotations")
    hidden = lm.network.architecture.hidden
    turned = nulls.rotated(states, kept, halves, draws=search.rotations, seed=search.seed, hidden=hidden)
    return Found(
        lm,
        ids,
        plain,
        label,
        kept,
        states,
        halves,
        fit,
        held,
        shifted,
        chance,
        free,
        turned,
        search,
        name,
        dropped,
    )


def judged(found: Found) -> tuple[list[Claim], list[Evidence]]:
    """Judge what was found; return for each feature the claim, as far as associations go, and its evidence."""
    bench = Bench(
        found.states,
        found.halves,
        nulls.Suffixes(found.ids),
        np.asarray(found.ids, np.int64),
        found.search.seed,
    )
    evidence = [judge(bench, feature, found.fit[:, index]) for index, feature in enumerate(found.features)]
    probes = probe(found.states, found.features, found.halves, bench.last, found.search.seed)
    p = [
        float(nulls.p_values(found.chance[:, [f]], np.array([each.sign * found.shifted[each.row, f]]))[0])
        for f, each in enumerate(evidence)
    ]
    q = nulls.adjusted(p)
    words = [
        verdict(each, q=float(q[f]), untrained=float(found.free[:, f].max()), alpha=ALPHA)
        for f, each in enumerate(evidence)
    ]
    alike = most_alike(found.states, [each.row for each in evidence], found.halves.fit)
    claims = [
        _claim(found, f, evidence[f], {"p": p[f], "q": float(q[f])}, probes[f], alike[f])
        for f in range(len(evidence))
    ]
    return [
        replace(claim, verdict=word, because=why) for claim, (word, why) in zip(claims, words, strict=True)
    ], evidence


def bound(found: Found, claims: list[Claim], unexplained: list[dict[str, Any]], asked: str) -> Claims:
    """Put the claims in order, the best verdict first, and beside them what they were made with."""
    order = sorted(claims, key=lambda c: (-VERDICTS.index(c.verdict), -c.evidence["strength"], c.feature))
    settings = {
        "features": found.kind,
        "asked": Path(asked).name,
        "fit_characters": len(found.halves.fit),
        "held_characters": len(found.halves.held),
        "gap": found.halves.gap,
        "alpha": ALPHA,
        **asdict(found.search),
    }
    digest = sha256(found.text.encode("utf-8", "surrogatepass")).hexdigest()
    about = {"sha256": digest, "characters": len(found.ids)}
    return Claims(_model(found.lm), about, settings, order, found.dropped, unexplained, _table(found, order))


def _model(lm: LanguageModel) -> dict[str, Any]:
    file = to_file(lm)
    digest = sha256()
    for name, array in sorted(file.arrays.items()):
        digest.update(name.encode() + array.tobytes())
    return {"sha256": digest.hexdigest(), **file.architecture.as_dict(), "vocabulary": len(file.vocabulary)}


def unit_name(states: States, row: int) -> str:
    """Return a unit as it is written: layer, colon, unit."""
    layer, unit = states.units[row]
    return f"{layer}:{unit}"


def _claim(
    found: Found,
    f: int,
    evidence: Evidence,
    chance: dict[str, float],
    probed: Probe,
    alike: list[tuple[int, float]],
) -> Claim:
    """Put what is known of one feature together."""
    feature, states = found.features[f], found.states
    order = np.argsort(-np.abs(found.fit[:, f]), kind="stable")
    rest = [int(row) for row in order if row != evidence.row][:RUNNERS_UP]
    others = [int(g) for g in np.argsort(-np.abs(found.held[evidence.row]), kind="stable") if g != f][:3]
    said = {name: value for name, value in asdict(evidence).items() if name != "row"}
    return Claim(
        feature.name,
        feature.kind,
        states.units[evidence.row],
        "",
        "",
        evidence=said,
        nulls={
            **chance,
            "shifts_95": float(np.quantile(found.chance[:, f], 0.95)),
            "shifts_largest": float(found.chance[:, f].max()),
            "untrained": float(found.free[::2, f].max()),
            "shuffled": float(found.free[1::2, f].max()),
            "rotation_mean": float(found.turned[:, f].mean()),
            "rotation_largest": float(found.turned[:, f].max()),
        },
        units=[{"unit": unit_name(states, row), "strength": float(found.held[row, f])} for row in rest],
        others=[
            {"feature": found.features[g].name, "strength": float(found.held[evidence.row, g])}
            for g in others
        ],
        alike=[{"unit": unit_name(states, row), "r": value} for row, value in alike],
        probe={
            "units": [unit_name(states, row) for row in probed.rows],
            **probed.strength,
            "control": probed.control,
            "selectivity": probed.strength["all"] - probed.control,
        },
        about={
            "characters": int(feature.positive.sum()),
            "runs": feature.runs(),
            "mean_run": feature.mean_run(),
            "unknown": int((~feature.known).sum()),
            "digest": feature.digest(),
        },
    )


def _table(found: Found, order: list[Claim]) -> dict[str, Any]:
    """Return how every unit that is in a claim goes with every feature."""
    units = list(dict.fromkeys(claim.unit for claim in order))
    rows = [found.states.units.index(unit) for unit in units]
    column = {feature.name: f for f, feature in enumerate(found.features)}
    return {
        "features": [claim.feature for claim in order],
        "units": [unit_name(found.states, row) for row in rows],
        "strengths": [[float(found.held[row, column[claim.feature]]) for row in rows] for claim in order],
    }
