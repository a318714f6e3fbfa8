"""The trial: what was found by association is ablated, patched and steered; and what matters but was not found."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import ablation, steering
from nextchar.discovery.claims import Claim, Claims, Search
from nextchar.discovery.judging import VERDICTS, Evidence
from nextchar.discovery.search import Found, Say, bound, judged, look, unit_name
from nextchar.discovery.states import Ints
from nextchar.language_model import LanguageModel

MOST_ABLATED = 24
UNEXPLAINED = 10


def discover(
    lm: LanguageModel,
    text: str | bytes | npt.NDArray[Any],
    features: str = "auto",
    search: Search | None = None,
    *,
    say: Say = len,
) -> Claims:
    """Find which unit follows what, score it on held-out text, hold it against nulls, and test what it is used for.

    Args:
        lm: The model.
        text: At least 5,000 characters that the model knows, better 200,000, or ids `(T,)`.
        features: "auto", the name of a profile, or a .toml or .py file.
        search: How hard to look.
        say: Is told what is being done.

    Raises:
        ConfigError: There are no such features.
        TextError: The text is too short.
        UnknownCharacterError: Counts and names what the model has never seen.
    """
    return claims_of(look(lm, text, features, search or Search(), say=say), features, say=say)


def claims_of(found: Found, asked: str, *, say: Say = len) -> Claims:
    """Judge what was found, and test it; `asked` are the features as they were asked for."""
    say("judging")
    claims, evidence = judged(found)
    unexplained: list[dict[str, Any]] = []
    if found.search.causal:
        claims, unexplained = tested(found, claims, evidence, say)
    return bound(found, claims, unexplained, asked)


def tested(
    found: Found, claims: list[Claim], evidence: list[Evidence], say: Say
) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Ablate, patch and steer; return the claims with what came of it, and what is unexplained."""
    strong = [
        f for f, claim in enumerate(claims) if VERDICTS.index(claim.verdict) >= VERDICTS.index("detects")
    ]
    strong = sorted(strong, key=lambda f: (-VERDICTS.index(claims[f].verdict), -evidence[f].strength))
    rows = list(dict.fromkeys(evidence[f].row for f in strong))[:MOST_ABLATED]
    if not rows:
        return claims, []
    say(f"ablating {len(rows)} units and as many as are needed beside them")
    features = [found.features[f] for f in strong]
    starts = ablation.choose_stretches(features, found.halves.held)
    pool = ablation.beside(found.states, rows, found.search.seed)
    ablations = ablation.ablate(
        found.lm, found.ids, found.states, np.concatenate([rows, pool]).astype(np.int64), starts
    )
    for f in strong:
        if evidence[f].row in rows:
            effect = ablation.effect(ablations, found.features[f], evidence[f].row, found.states, pool)
            claims[f] = replace(claims[f], effect=effect, patch=_patched(found, f, evidence[f].row, pool))
        if claims[f].verdict == "tracks":
            word, why = ablation.used(claims[f].effect)
            claims[f] = replace(claims[f], verdict=word, because=why)
    _steer(found, claims, evidence, strong, say)
    return claims, _unexplained(found, ablations, claims)


def _patched(found: Found, f: int, row: int, pool: Ints) -> dict[str, Any]:
    pairs = steering.minimal_pairs(found.lm, found.ids, found.features[f], found.halves.held)
    if pairs is None:
        return {}
    unit = found.states.units[row]
    others = [found.states.units[each] for each in pool if found.states.units[each][0] == unit[0]][:20]
    return dict(steering.recovered(found.lm, pairs, unit, others))


def _steer(
    found: Found, claims: list[Claim], evidence: list[Evidence], strong: Sequence[int], say: Say
) -> None:
    """Steer the strongest claims about spans, which a reader would see."""
    spans = [
        f
        for f in strong
        if found.features[f].kind == "binary" and found.features[f].mean_run() >= steering.SPAN
    ]
    for f in spans[: found.search.steered]:
        say(f"steering {claims[f].feature}")
        row, feature = evidence[f].row, found.features[f]
        doses = steering.doses_of(found.states, row, feature, found.halves.fit, evidence[f].sign)
        steered = steering.steer(
            found.lm, found.states.units[row], doses, found.label, feature, seed=found.search.seed
        )
        claims[f] = replace(claims[f], steer=asdict(steered))


def _unexplained(found: Found, ablations: ablation.Ablations, claims: list[Claim]) -> list[dict[str, Any]]:
    """Return the ablated units that cost most among those that beat the nulls of no feature."""
    tables = {claim.feature: claim.evidence["suffix"]["best"] for claim in claims}
    bar = np.maximum(found.free.max(0), np.quantile(found.chance, 0.95, axis=0))
    bar = np.maximum(bar, [tables[feature.name] for feature in found.features])
    cost = ablations.bits.mean(1)
    result = []
    for k in np.argsort(-cost, kind="stable"):
        row = int(ablations.rows[k])
        strengths = np.abs(found.held[row])
        if (strengths > bar).any() or cost[k] < np.median(cost):
            continue
        best = int(np.argmax(strengths))
        result.append(
            {
                "unit": unit_name(found.states, row),
                "bits": float(cost[k]),
                "best": {"feature": found.features[best].name, "strength": float(strengths[best])},
                "strongest": _windows(found, row),
            }
        )
    return result[:UNEXPLAINED]


def _windows(found: Found, row: int, count: int = 3, width: int = 40) -> list[str]:
    """Return what stands before the places where a unit is highest, no two of them close to each other."""
    order = np.argsort(-found.states.codes[row].astype(np.int64), kind="stable")[:5000]
    chosen: list[int] = []
    for at in order.tolist():
        if all(abs(at - other) > 2 * width for other in chosen):
            chosen.append(at)
        if len(chosen) == count:
            break
    return [found.text[max(0, at + 1 - width) : at + 1] for at in chosen]
