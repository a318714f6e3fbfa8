"""Discovery from end to end: study -> findings (associations) -> causal tests -> claims."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import ablation, nulls, steering
from nextchar.discovery.claims import Claim, Claims, Entry, NullComparison
from nextchar.discovery.findings import findings_of, merge
from nextchar.discovery.judging import ALPHA, VERDICTS, judge, verdict
from nextchar.discovery.probes import probe
from nextchar.discovery.states import Ints, similar_units
from nextchar.discovery.study import OnProgress, Search, Strengths, Study, ignore, measure, prepare
from nextchar.errors import check_is
from nextchar.features.feature import Feature
from nextchar.inspection.naming import digest
from nextchar.storage import ModelSource

MAX_ABLATED = 24
MAX_UNEXPLAINED = 10
RUNNERS_UP = 5
OTHER_FEATURES = 3
WINDOW, WINDOWS = 40, 3  # characters shown before each of the places where an unexplained unit is highest
HIGHEST = 5000  # of its places, among which they are searched for


def discover(
    model: ModelSource,
    text: str | bytes | npt.NDArray[Any],
    features: str = "auto",
    search: Search | None = None,
    *,
    on_progress: OnProgress = ignore,
) -> Claims:
    """Find which unit follows which feature, score it on held-out text, compare it with nulls, and test what it is used for.

    Args:
        model: A language model, a model file or a path.
        text: At least 5,000 characters that the model knows, better 200,000, or ids `(T,)`.
        features: "auto", the name of a profile, or a .toml or .py file.
        search: The settings.
        on_progress: Called with a line of text at the beginning of every stage.

    Raises:
        ConfigError: There are no such features.
        ModelFileError: There is no such model.
        TextError: The text is too short.
        UnknownCharacterError: The text has characters that the model does not know; counts and names them.
    """
    check_is("search", search or Search(), Search)
    check_is("features", features, str)
    return claims_of(prepare(model, text, features, search or Search(), on_progress), features, on_progress)


def claims_of(study: Study, requested: str, on_progress: OnProgress = ignore) -> Claims:
    """Take a study through all stages; `requested` is the name of the features as the user gave it."""
    strengths = measure(study, on_progress)
    on_progress("judging")
    claims, unexplained = judge_features(study, strengths), list[Entry]()
    if study.search.causal:
        claims, unexplained = run_causal_tests(study, strengths, claims, on_progress)
    return sort_claims(study, strengths, claims, unexplained, requested)


def judge_features(study: Study, strengths: Strengths) -> list[Claim]:
    """Judge every feature by association alone; one claim each, in the order of the features."""
    last = np.asarray(study.ids, np.int64)
    evidence = [judge(study, feature, strengths.fit[:, f]) for f, feature in enumerate(study.features)]
    probes = probe(study.states, study.features, study.halves, last, study.search.seed)
    found = np.array([each.sign * strengths.aligned[each.row, f] for f, each in enumerate(evidence)])
    p = nulls.p_values(strengths.null_shifted, found)
    q = nulls.adjusted(p)
    shifted, rotated = strengths.null_shifted, strengths.null_rotated
    by_chance = np.quantile(shifted, 0.95, axis=0), shifted.max(0)
    networks = strengths.null_untrained.max(0), strengths.null_shuffled.max(0)
    compared = np.stack([p, q, *by_chance, *networks, rotated.mean(0), rotated.max(0)], 1)
    alike = similar_units(study.states, [each.row for each in evidence], study.halves.fit)
    claims = []
    for f, feature in enumerate(study.features):
        row, null = evidence[f].row, NullComparison(*compared[f].tolist())
        word, why = verdict(evidence[f], q=null.q, untrained=max(null.untrained, null.shuffled))
        rows = [each for each in np.argsort(-np.abs(strengths.fit[:, f]), kind="stable") if each != row]
        others = [each for each in np.argsort(-np.abs(strengths.held[row]), kind="stable") if each != f]
        units = [{"unit": study.states.name(k), "strength": float(strengths.held[k, f])} for k in rows[:RUNNERS_UP]]
        followed = [(study.features[k].name, float(strengths.held[row, k])) for k in others[:OTHER_FEATURES]]
        claim = Claim(
            feature.name,
            feature.kind,
            study.states.units[row],
            word,
            why,
            evidence[f],
            null,
            units=units,
            others=[{"feature": name, "strength": strength} for name, strength in followed],
            alike=[{"unit": study.states.name(each), "r": r} for each, r in alike[f]],
            probe=probes[f],
            about=feature.summary(),
        )
        claims.append(claim)
    return claims


def run_causal_tests(
    study: Study, strengths: Strengths, claims: Sequence[Claim], on_progress: OnProgress = ignore
) -> tuple[list[Claim], list[Entry]]:
    """Ablate, patch and steer the units of the claims that are at least `detects`, the strongest first.

    Returns:
        The claims with the effects, in the same order, and the units that no feature explains.
    """
    tested, by_name = {c.feature: c for c in claims}, {f.name: f for f in study.features}
    strong = [claim for claim in claims if claim.rank >= VERDICTS.index("detects")]
    strong.sort(key=lambda claim: (-claim.rank, -claim.evidence.strength))
    rows = list(dict.fromkeys(claim.evidence.row for claim in strong))[:MAX_ABLATED]
    unexplained: list[Entry] = []
    if rows:
        on_progress(f"ablating {len(rows)} units and their controls")
        starts = ablation.choose_windows([by_name[claim.feature] for claim in strong], study.halves.held)
        controls = ablation.control_units(study.states, rows, study.search.seed)
        every = np.concatenate([rows, controls]).astype(np.int64)
        ablations = ablation.ablate(study.lm, study.ids, study.states, every, starts)
        unexplained = _unexplained(study, strengths, claims, ablations)
    merged = ([c.feature for c in group if _can_be_steered(by_name[c.feature])] for group in merge(study, strong))
    steered = [names[0] for names in merged if names][: study.search.steered]
    for claim in strong:
        row, feature, name = claim.evidence.row, by_name[claim.feature], claim.feature
        if row in rows:
            effect = ablation.effect(ablations, feature, row, study.states, controls)
            patch = _patch(study, feature, row, controls)
            tested[name] = replace(claim, effect=effect, patch=patch)
        if name in steered:
            on_progress(f"steering {name}")
            tested[name] = replace(tested[name], steer=_steer(study, claim, feature))
    for name, claim in tested.items():
        if claim.verdict == "tracks":
            word, why = ablation.verdict(claim.effect)
            tested[name] = replace(claim, verdict=word, because=why)
    return list(tested.values()), unexplained


def _can_be_steered(feature: Feature) -> bool:
    return feature.kind == "binary" and feature.mean_run() >= steering.MIN_MEAN_RUN


def _patch(study: Study, feature: Feature, row: int, controls: Ints) -> steering.Patching | None:
    pairs = steering.minimal_pairs(study.lm, study.ids, feature, study.halves.held)
    if pairs is None:
        return None
    unit = study.states.units[row]
    others = [study.states.units[each] for each in controls if study.states.units[each][0] == unit[0]]
    return steering.patch_unit(study.lm, pairs, unit, others[: steering.MAX_OTHERS])


def _steer(study: Study, claim: Claim, feature: Feature) -> steering.Steering:
    row, sign = claim.evidence.row, claim.evidence.sign
    doses = steering.doses_of(study.states, row, feature, study.halves.fit, sign)
    return steering.steer(study.lm, claim.unit, doses, study.label, feature, seed=study.search.seed)


def _unexplained(
    study: Study, strengths: Strengths, claims: Sequence[Claim], ablations: ablation.Ablations
) -> list[Entry]:
    """Return the units of the highest cost among those ablated that are stronger than the nulls on no feature."""
    networks = np.concatenate([strengths.null_untrained, strengths.null_shuffled])
    bar = np.maximum(networks.max(0), np.quantile(strengths.null_shifted, 0.95, axis=0))
    bar = np.maximum(bar, [claim.evidence.suffix.best for claim in claims])
    cost = ablations.bits.mean(1)
    result = []
    for k in np.argsort(-cost, kind="stable"):
        row = int(ablations.rows[k])
        held = np.abs(strengths.held[row])
        if (held > bar).any() or cost[k] < np.median(cost):
            continue
        best = int(np.argmax(held))
        closest = {"feature": claims[best].feature, "strength": float(held[best])}
        entry = {"unit": study.states.name(row), "bits": float(cost[k]), "best": closest}
        result.append(entry | {"strongest": _highest(study, row)})
    return result[:MAX_UNEXPLAINED]


def _highest(study: Study, row: int) -> list[str]:
    """Return the text before the places at which a unit is highest, no two of them close to each other."""
    order = np.argsort(-study.states.codes[row].astype(np.int64), kind="stable")[:HIGHEST]
    chosen: list[int] = []
    for at in order.tolist():
        if all(abs(at - other) > 2 * WINDOW for other in chosen):
            chosen.append(at)
        if len(chosen) == WINDOWS:
            break
    return [study.text[max(0, at + 1 - WINDOW) : at + 1] for at in chosen]


def sort_claims(
    study: Study, strengths: Strengths, claims: list[Claim], unexplained: list[Entry], requested: str
) -> Claims:
    """Sort the claims, the best verdict first, and add what was searched."""
    claims = sorted(claims, key=lambda claim: (-claim.rank, -claim.evidence.strength, claim.feature))
    settings = {
        "features": study.profile,
        "asked": Path(requested).name,
        "fit_characters": len(study.halves.fit),
        "held_characters": len(study.halves.held),
        "gap": study.halves.gap,
        "alpha": ALPHA,
        **asdict(study.search),
    }
    text = {"sha256": sha256(study.text.encode("utf-8", "surrogatepass")).hexdigest(), "characters": len(study.ids)}
    table = _strength_table(study, strengths, claims)
    found = findings_of(study, claims)
    shape = study.lm.network.architecture.as_dict()
    model = {"sha256": digest(study.lm), **shape, "vocabulary": len(study.lm.vocabulary)}
    return Claims(model, text, settings, claims, study.dropped, unexplained, table, found)


def _strength_table(study: Study, strengths: Strengths, claims: Sequence[Claim]) -> Entry:
    units = list(dict.fromkeys(claim.unit for claim in claims))
    rows = [study.states.units.index(unit) for unit in units]
    column = {feature.name: f for f, feature in enumerate(study.features)}
    return {
        "features": [claim.feature for claim in claims],
        "units": [study.states.name(row) for row in rows],
        "strengths": [[float(strengths.held[row, column[claim.feature]]) for row in rows] for claim in claims],
    }
