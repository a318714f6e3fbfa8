"""Claims: which unit follows what, with everything that speaks for and against it; the same again when run again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import causes, nulls, steering
from nextchar.discovery.chosen import Labeller, labeller
from nextchar.discovery.features import LEAST_POSITIVES, LEAST_RUNS, Feature, keep
from nextchar.discovery.judging import VERDICTS, Bench, Evidence, judge, verdict
from nextchar.discovery.probes import Probe, probe
from nextchar.discovery.scores import Doubles, design, signed
from nextchar.discovery.states import Ints, Split, States, most_alike, read_states, split
from nextchar.errors import ConfigError, TextError
from nextchar.language_model import LanguageModel
from nextchar.storage import to_file, write_text

FORMAT = 1
SHORTEST = 5000  # characters below which halves, gaps and blocks are too small to say anything
ALPHA = 0.05
MOST_ABLATED = 24
STEERED = 3
RUNNERS_UP = 5
UNEXPLAINED = 10

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How hard to look.

    Attributes:
        shifts: Circular shifts, the null of chance.
        rotations: Random rotations of each layer.
        untrained: Networks that were not trained, and as many with shuffled weights.
        causal: Whether to ablate, to patch and to steer.
        steered: Claims that are steered, the strongest first.
        least_positives: Characters that a feature needs.
        least_runs: Stretches that it needs.
        seed: Everything random follows from it.
    """

    shifts: int = 200
    rotations: int = 20
    untrained: int = 1
    causal: bool = True
    steered: int = STEERED
    least_positives: int = LEAST_POSITIVES
    least_runs: int = LEAST_RUNS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for name, least in (("shifts", 19), ("rotations", 1), ("untrained", 1), ("steered", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be {least} or more")


@dataclass(frozen=True, slots=True)
class Claim:
    """What was found of one feature.

    Attributes:
        feature: Its name.
        kind: binary, ordinal or cyclic.
        unit: Layer and unit of the best, chosen on the fit half.
        verdict: One of `judging.VERDICTS`.
        because: What kept it from the next word.
        evidence: Scores of the unit on the held-out half, with its interval and its lead over tables of suffixes.
        nulls: p and q of the shifts, and the strengths of the best by each null.
        units: The next best units on the fit half, with held-out strengths.
        others: What else the unit goes with, the strongest first.
        alike: Units that go along with it, with correlations.
        probe: Strength of 1, 2, 4, 8, 16 and all units together.
        effect: What ablating it costs; empty if it was not tried.
        patch: What patching it alone brings back of an opening mark; empty likewise.
        steer: What holding it does to what is written; empty likewise.
        about: How often the feature comes, in which runs, and its digest.
    """

    feature: str
    kind: str
    unit: tuple[int, int]
    verdict: str
    because: str
    evidence: dict[str, Any]
    nulls: dict[str, Any]
    units: list[dict[str, Any]]
    others: list[dict[str, Any]]
    alike: list[dict[str, Any]]
    probe: dict[str, Any]
    effect: dict[str, Any] = field(default_factory=dict)
    patch: dict[str, Any] = field(default_factory=dict)
    steer: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claims:
    """What was looked for in a model and a text, found or not.

    Attributes:
        model: Digest and shape.
        text: Digest and length.
        settings: Features, split, nulls, seeds.
        claims: One a feature, the best verdict first.
        dropped: Features that come too rarely, and how rarely.
        unexplained: Units that cost much when ablated and go with no feature beyond the nulls.
        table: Features, units and their signed held-out strengths, those units that are in a claim.
    """

    model: dict[str, Any]
    text: dict[str, Any]
    settings: dict[str, Any]
    claims: list[Claim]
    dropped: dict[str, str]
    unexplained: list[dict[str, Any]]
    table: dict[str, Any]

    def __getitem__(self, feature: str) -> Claim:
        """Return the claim about a feature."""
        return next(claim for claim in self.claims if claim.feature == feature)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, rounded to what another machine would give, for JSON."""
        return rounded({"format": FORMAT, **asdict(self)})

    def save(self, path: Path | str) -> None:
        """Write `claims.json`."""
        write_text(Path(path), json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Return a JSON value with numbers to six digits after the point."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True, slots=True)
class Found:
    """What the search has in hand once everything is read and scored; F features, U units."""

    lm: LanguageModel
    ids: npt.NDArray[Any]
    text: str
    label: Labeller
    features: list[Feature]
    states: States
    halves: Split
    fit: Doubles
    held: Doubles
    chance: Doubles
    free: Doubles
    turned: Doubles
    search: Search


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
    return claims_of(look(lm, text, features, search or Search(), say=say), features, say=say)[0]


def look(
    lm: LanguageModel, text: str | bytes | npt.NDArray[Any], features: str, search: Search, *, say: Say = len
) -> tuple[Found, dict[str, str], str]:
    """Read the text with the model and with what is held against it, and score every unit on every feature."""
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text)
    if len(ids) < SHORTEST:
        raise TextError(f"the text has {len(ids):,} characters; discovering needs {SHORTEST:,}, better 200,000")
    # A byte model's bytes stand as characters of the same number, so that a label is a byte's.
    plain = "".join(map(chr, np.array(lm.vocabulary.codes)[ids].tolist()))
    name, label = labeller(features, plain)
    kept, dropped = keep(list(label(plain)), search.least_positives, search.least_runs)
    if not kept:
        raise TextError(f"none of the {len(dropped)} features comes often enough in {len(ids):,} characters; give more text")
    halves = split(len(ids))
    say(f"reading {len(ids):,} characters, {len(kept)} features of kind {name}")
    states = read_states(lm, ids)
    fit = _strengths(states, kept, halves.fit)
    ranks, scaled = states.ranks(halves.held), states.standardized(halves.held)
    held = signed(ranks, scaled, design(kept, halves.held))
    say(f"{search.shifts} shifts")
    amounts = nulls.shifts(len(halves.held), search.shifts, search.seed)
    chance = nulls.shifted_best(ranks, scaled, kept, halves.held, amounts)
    del ranks, scaled
    say("networks that were not trained")
    free = np.zeros((2 * search.untrained, len(kept)))
    for k in range(search.untrained):
        for which, make in enumerate((nulls.untrained, nulls.shuffled)):
            twin = read_states(make(lm, search.seed + k), ids)
            free[2 * k + which] = np.abs(_strengths(twin, kept, halves.held)).max(0)
            del twin
    say(f"{search.rotations} random rotations")
    hidden = lm.network.architecture.hidden
    turned = nulls.rotated(states, kept, halves, draws=search.rotations, seed=search.seed, hidden=hidden)
    found = Found(lm, ids, plain, label, kept, states, halves, fit, held, chance, free, turned, search)
    return found, dropped, name


def _strengths(states: States, features: list[Feature], places: Ints) -> Doubles:
    return signed(states.ranks(places), states.standardized(places), design(features, places))


def claims_of(
    looked: tuple[Found, dict[str, str], str], features: str, *, say: Say = len
) -> tuple[Claims, list[Evidence]]:
    """Judge what was found; return the claims, and the evidence of each feature in their order."""
    found, dropped, name = looked
    say("judging")
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
        float(nulls.p_values(found.chance[:, [f]], np.array([each.sign * found.held[each.row, f]]))[0])
        for f, each in enumerate(evidence)
    ]
    q = nulls.adjusted(p)
    words = [
        verdict(each, q=float(q[f]), untrained=float(found.free[:, f].max()), alpha=ALPHA)
        for f, each in enumerate(evidence)
    ]
    alike = most_alike(found.states, [each.row for each in evidence], found.halves.fit)
    claims = [
        _claim(found, f, evidence[f], words[f], {"p": p[f], "q": float(q[f])}, probes[f], alike[f])
        for f in range(len(evidence))
    ]
    unexplained: list[dict[str, Any]] = []
    if found.search.causal:
        claims, unexplained = _test(found, claims, evidence, say)
    order = sorted(range(len(claims)), key=lambda f: (-VERDICTS.index(claims[f].verdict), -evidence[f].strength, claims[f].feature))
    whole = Claims(
        _model(found.lm),
        {"sha256": sha256(found.text.encode("utf-8", "surrogatepass")).hexdigest(), "characters": len(found.ids)},
        {
            "features": name,
            "asked": Path(features).name,
            "fit_characters": len(found.halves.fit),
            "held_characters": len(found.halves.held),
            "gap": found.halves.gap,
            "alpha": ALPHA,
            **asdict(found.search),
        },
        [claims[f] for f in order],
        dropped,
        unexplained,
        _table(found, evidence, order),
    )
    return whole, [evidence[f] for f in order]


def _model(lm: LanguageModel) -> dict[str, Any]:
    file = to_file(lm)
    digest = sha256()
    for name, array in sorted(file.arrays.items()):
        digest.update(name.encode() + array.tobytes())
    return {"sha256": digest.hexdigest(), **file.architecture.as_dict(), "vocabulary": len(file.vocabulary)}


def _unit(states: States, row: int) -> str:
    layer, unit = states.units[row]
    return f"{layer}:{unit}"


def _claim(
    found: Found, f: int, evidence: Evidence, word: tuple[str, str], chance: dict[str, float], probed: Probe, alike: list[tuple[int, float]]
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
        *word,
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
        units=[{"unit": _unit(states, row), "strength": float(found.held[row, f])} for row in rest],
        others=[{"feature": found.features[g].name, "strength": float(found.held[evidence.row, g])} for g in others],
        alike=[{"unit": _unit(states, row), "r": value} for row, value in alike],
        probe={
            "units": [_unit(states, row) for row in probed.rows],
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


def _test(
    found: Found, claims: list[Claim], evidence: list[Evidence], say: Say
) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Ablate, patch and steer; return the claims with what came of it, and what is unexplained."""
    strong = [f for f, claim in enumerate(claims) if VERDICTS.index(claim.verdict) >= VERDICTS.index("detects")]
    strong = sorted(strong, key=lambda f: (-VERDICTS.index(claims[f].verdict), -evidence[f].strength))
    rows = list(dict.fromkeys(evidence[f].row for f in strong))[:MOST_ABLATED]
    if not rows:
        return claims, []
    say(f"ablating {len(rows)} units and as many as are needed beside them")
    features = [found.features[f] for f in strong]
    starts = causes.choose_stretches(features, found.halves.held)
    pool = causes.matched(found.states, rows, found.halves.held, found.search.seed)
    ablations = causes.ablate(found.lm, found.ids, found.states, np.concatenate([rows, pool]).astype(np.int64), starts)
    for f in strong:
        if evidence[f].row in rows:
            effect = causes.effect(ablations, found.features[f], evidence[f].row, found.states)
            uses = claims[f].verdict == "tracks" and effect.get("passes", False)
            word = {"verdict": "uses", "because": ""} if uses else {}
            claims[f] = replace(claims[f], effect=effect, patch=_patched(found, f, evidence[f].row, pool), **word)
    _steer(found, claims, evidence, strong, say)
    return claims, _unexplained(found, ablations, claims)


def _patched(found: Found, f: int, row: int, pool: Ints) -> dict[str, Any]:
    pairs = steering.minimal_pairs(found.lm, found.ids, found.features[f], found.halves.held)
    if pairs is None:
        return {}
    unit = found.states.units[row]
    others = [found.states.units[each] for each in pool if found.states.units[each][0] == unit[0]][:20]
    return dict(steering.recovered(found.lm, pairs, unit, others))


def _steer(found: Found, claims: list[Claim], evidence: list[Evidence], strong: Sequence[int], say: Say) -> None:
    """Steer the strongest claims about spans, which a reader would see."""
    spans = [f for f in strong if found.features[f].kind == "binary" and found.features[f].mean_run() >= steering.SPAN]
    for f in spans[: found.search.steered]:
        say(f"steering {claims[f].feature}")
        row, feature = evidence[f].row, found.features[f]
        doses = steering.doses_of(found.states, row, feature, found.halves.fit, evidence[f].sign)
        steered = steering.steer(
            found.lm, found.states.units[row], doses, found.label, feature.name, seed=found.search.seed
        )
        claims[f] = replace(claims[f], steer=steered.as_dict())


def _unexplained(found: Found, ablations: causes.Ablations, claims: list[Claim]) -> list[dict[str, Any]]:
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
                "unit": _unit(found.states, row),
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


def _table(found: Found, evidence: list[Evidence], order: list[int]) -> dict[str, Any]:
    rows = list(dict.fromkeys(evidence[f].row for f in order))
    return {
        "features": [found.features[f].name for f in order],
        "units": [_unit(found.states, row) for row in rows],
        "strengths": [[float(found.held[row, f]) for row in rows] for f in order],
    }
