"""Findings: the few things that a network noticed by itself, in words; duplicates are merged."""

from collections.abc import Iterable

import numpy as np

from nextchar.discovery.claims import Claim, Entry, Finding
from nextchar.discovery.judging import VERDICTS
from nextchar.discovery.study import Study
from nextchar.features.phrases import phrase
from nextchar.inspection.naming import Measure
from nextchar.text.glyphs import glyph

MOST = 8
SAME = 0.8  # correlation of two features from which on they are one finding
OTHERS = 3  # other neurons and other features named in a finding
TURNS = 3  # pairs of characters after which a neuron changes most
FEW = 5  # occurrences of a pair, by which its mean change is shrunk


def merge(study: Study, claims: Iterable[Claim]) -> list[list[Claim]]:
    """Group the claims that are at least `detects`: those of one neuron, one kind of span, or features that go together."""
    groups: list[list[Claim]] = []
    for claim in claims:
        if claim.rank >= VERDICTS.index("detects"):
            same = next((group for group in groups if _same(study, group[0], claim)), None)
            groups.append([claim]) if same is None else same.append(claim)
    return groups


def _same(study: Study, one: Claim, other: Claim) -> bool:
    if one.unit == other.unit or one.feature.split(".")[0] == other.feature.split(".")[0]:
        return True
    a, b = (next(each for each in study.features if each.name == claim.feature) for claim in (one, other))
    x, y = (each.values[a.known & b.known] for each in (a, b))
    return bool(len(x) and x.std() and y.std() and abs(np.corrcoef(x, y)[0, 1]) >= SAME)


def findings_of(study: Study, claims: Iterable[Claim]) -> list[Finding]:
    """Say the strongest claims in words, at most eight, given the claims, the strongest first."""
    return [_say(study, group) for group in merge(study, claims)[:MOST]]


def _say(study: Study, group: list[Claim]) -> Finding:
    best = max(group, key=lambda claim: (claim.rank, claim.steer is not None, claim.evidence.strength))
    bar = max(best.nulls.untrained, best.nulls.shuffled, best.evidence.suffix.best)
    also = [f"{'it' if c.unit == best.unit else _name(c)} {phrase(c.feature)}" for c in group if c is not best]
    strong = [(each["unit"], abs(each["strength"])) for each in best.units if abs(each["strength"]) > bar]
    others = [f"{unit} ({_amount(best, strength)})" for unit, strength in strong]
    named = best.feature, _name(best), phrase(best.feature)
    binary: tuple[Measure, float] = "balanced accuracy", best.evidence.scores.get("balanced_accuracy", 0)
    score = binary if best.kind == "binary" else ("correlation", best.evidence.strength)
    said = _numbers(best), _held(study, best)
    return Finding(*named, *score, *said, also[:OTHERS], others[:OTHERS], *_turns(study, best))


def _name(claim: Claim) -> str:
    return "{}:{}".format(*claim.unit)


def _amount(claim: Claim, strength: float) -> str:
    """Return a strength as people read it: how often two characters are distinguished, or a correlation."""
    if claim.kind != "binary":
        return f"{strength:.2f}"
    share = f"{min(50 + 50 * strength, 99.9):.1f}" if strength < 1 else "100"
    return f"{share}\u00a0%"


def _numbers(claim: Claim) -> str:
    """Compare a unit with an untrained network and with the last characters, in one sentence."""
    suffix = claim.evidence.suffix
    mine, untrained, table = (
        _amount(claim, each) for each in (claim.evidence.strength, claim.nulls.untrained, max(0.0, suffix.best))
    )
    beside = f"the best neuron of an untrained network: {untrained}; a table of the last {suffix.k} characters: {table}"
    if claim.kind == "binary":
        return (
            "Shown a character where that is so and one where it is not, it tells which is which "
            f"{mine} of the time, on text that the search did not see ({beside}; guessing: 50\u00a0%)."
        )
    return (
        f"Its value goes with that number: correlation {mine} on text that the search did not see "
        f"({beside}; 0 is no relation, 1 a complete one)."
    )


def _held(study: Study, claim: Claim) -> str:
    """Say what holding the unit at one value does to the text that is written, and to the predictions."""
    if not study.search.causal:
        return "Causal test skipped: the neuron was not held."
    said, effect = [], claim.effect
    if claim.steer:
        way = phrase(claim.feature).removeprefix("knows ").replace("is ", "were ", 1)
        off, *_, on = claim.steer.shares
        said.append(
            f"Held at its value for yes while the network writes, {100 * on:.0f}\u00a0% of the text comes out as if {way}; "
            f"held at its value for no, {100 * off:.0f}\u00a0%."
        )
    if effect:
        more = f"more than for {effect.percentile:.0f}\u00a0% of similar neurons: the network uses it"
        so = f", {more}." if effect.passes else ": little depends on this neuron alone."
        said.append(
            f"Held at its average, prediction costs {effect.on_bits:+.3f} bits per character where that is so and "
            f"{effect.off_bits:+.3f} elsewhere{so}"
        )
    return " ".join(said) or "Causal test skipped: there were not enough characters or similar neurons to compare."


def _turns(study: Study, claim: Claim) -> list[list[Entry]]:
    """Return after which two last characters a unit changes most towards the feature on held-out text, and away from it."""
    row, places, pairs = claim.evidence.row, study.halves.held, study.suffixes.numbers[1]
    values = claim.evidence.sign * study.states.levels[row][study.states.codes[row]]
    count = np.bincount(pairs[places])
    total = np.bincount(pairs[places], np.diff(values, prepend=values[:1])[places])
    shrunk = total / (count + FEW)
    order, least = np.argsort(-shrunk, kind="stable"), np.abs(shrunk).max() / 3
    first = dict(zip(pairs[::-1].tolist(), range(len(pairs) - 1, -1, -1), strict=True))

    def turn(pair: int) -> Entry:
        after = "".join(glyph(ord(each)) for each in study.text[max(0, first[pair] - 1) : first[pair] + 1])
        return {"after": after, "change": float(total[pair] / count[pair]), "times": int(count[pair])}

    ends = (order[:TURNS], 1), (order[: -TURNS - 1 : -1], -1)
    return [[turn(pair) for pair in some.tolist() if sign * shrunk[pair] >= least] for some, sign in ends]
