"""Claims: which unit follows which feature, with the evidence for and against, and the JSON they are written as."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextchar.discovery.ablation import Effect
from nextchar.discovery.judging import VERDICTS, Evidence
from nextchar.discovery.probes import Probe
from nextchar.discovery.steering import Patching, Steering
from nextchar.errors import as_integer, check_fields
from nextchar.features.feature import MIN_POSITIVES, MIN_RUNS, FeatureSummary
from nextchar.features.phrases import phrase
from nextchar.notebook import card
from nextchar.storage import write_text

FORMAT = 1
SHOWN = 10  # claims in a notebook, the best first

Entry = dict[str, Any]
"""Values by name, as they are in the JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Settings of a discovery.

    Attributes:
        shifts: Circular shifts, the null of chance; with fewer than 99 no adjusted p can be small enough.
        rotations: Random rotations of each layer.
        untrained: Number of untrained networks, and of networks with shuffled weights.
        causal: Whether to ablate, patch and steer.
        steered: How many claims are steered, the strongest first.
        least_positives: Characters on which a feature must be on.
        least_runs: Runs of such characters that it needs.
        seed: Seed of everything random.
    """

    shifts: int = 200
    rotations: int = 20
    untrained: int = 1
    causal: bool = True
    steered: int = 3
    least_positives: int = MIN_POSITIVES
    least_runs: int = MIN_RUNS
    seed: int = 0

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)
        least = {"shifts": 99, "steered": 0, "seed": 0}
        for name in ("shifts", "rotations", "untrained", "steered", "least_positives", "least_runs", "seed"):
            as_integer(name, getattr(self, name), f"{least.get(name, 1)} or more", least.get(name, 1))


@dataclass(frozen=True, slots=True)
class NullComparison:
    """How strong the best unit or direction is under each null, for one feature.

    Attributes:
        p: Share of the circular shifts in which the best of all units is at least as strong.
        q: p adjusted over all features (Benjamini & Hochberg).
        shifts_95: 95th percentile over the shifts.
        shifts_largest: Maximum over the shifts.
        untrained: Maximum over the units of untrained networks.
        shuffled: Maximum over the units of networks with shuffled weights.
        rotation_mean: Mean over the random rotations.
        rotation_largest: Maximum over the random rotations.
    """

    p: float
    q: float
    shifts_95: float
    shifts_largest: float
    untrained: float
    shuffled: float
    rotation_mean: float
    rotation_largest: float


@dataclass(frozen=True, slots=True)
class Claim:
    """What was found about one feature.

    Attributes:
        feature: Its name.
        kind: binary, ordinal or cyclic.
        unit: Layer and index of the best unit, chosen on the fit half.
        verdict: One of `judging.VERDICTS`.
        because: What kept it from the next verdict.
        evidence: Scores of the unit on the held-out half, with its interval and its lead over tables of suffixes.
        nulls: p and q of the shifts, and the strength of the best under each null.
        units: The next best units on the fit half: `unit`, LAYER:UNIT, and its signed held-out `strength`.
        others: Other features the unit follows, the strongest first: `feature` and signed held-out `strength`.
        alike: Units that are correlated with it: `unit` and correlation `r`.
        probe: Strength of 1, 2, 4, 8, 16 and all units together.
        effect: What ablating the unit does; None if it was not ablated.
        patch: How much patching the unit alone restores of the effect of an opening mark; None likewise.
        steer: What holding the unit does to generated text; None likewise.
        about: How often the feature occurs.
    """

    feature: str
    kind: str
    unit: tuple[int, int]
    verdict: str
    because: str
    evidence: Evidence
    nulls: NullComparison
    units: list[Entry]
    others: list[Entry]
    alike: list[Entry]
    probe: Probe
    effect: Effect | None
    patch: Patching | None
    steer: Steering | None
    about: FeatureSummary

    @property
    def rank(self) -> int:
        """Index of the verdict in `VERDICTS`."""
        return VERDICTS.index(self.verdict)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON; what was not measured is an empty object."""
        values = asdict(self)
        del values["evidence"]["row"]
        values["evidence"]["deep"] = values["evidence"]["deep"] or {}
        values["probe"] = self.probe.as_dict()
        return values | {name: values[name] or {} for name in ("effect", "patch", "steer")}


@dataclass(frozen=True, slots=True)
class Claims:
    """All that was searched for in a model and a text, found or not.

    Attributes:
        model: Digest and shape.
        text: Digest and length.
        settings: Features, split, nulls, seed.
        claims: One per feature, the best verdict first.
        dropped: Features that are too rare, and how rare.
        unexplained: Units whose ablation increases the loss and that follow no feature more than the nulls allow: `unit`,
            LAYER:UNIT; `bits` per character by which its ablation increases the loss on average; `best`, the feature it
            follows most and the strength; `strongest`, the text before the characters at which it is highest.
        table: Names of F `features` and of U claimed `units`, and the signed held-out `strengths`, `(F, U)`.
    """

    model: dict[str, Any]
    text: dict[str, Any]
    settings: dict[str, Any]
    claims: list[Claim]
    dropped: dict[str, str]
    unexplained: list[Entry]
    table: Entry

    def __repr__(self) -> str:
        counts = Counter(claim.verdict for claim in self.claims)
        found = ", ".join(f"{counts[name]} {name}" for name in reversed(VERDICTS) if counts[name])
        return f"<Claims about {len(self.claims)} features: {found}>"

    def _repr_html_(self) -> str:
        facts = [
            (
                f"{claim.unit[0]}:{claim.unit[1]}",
                f"{phrase(claim.feature)}: {claim.verdict}, held-out strength {claim.evidence.strength:.2f}",
            )
            for claim in self.claims[:SHOWN]
        ]
        return card(repr(self)[1:-1], facts)

    def __getitem__(self, feature: str) -> Claim:
        """Return the claim about a feature."""
        return next(claim for claim in self.claims if claim.feature == feature)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name for JSON, rounded to the digits that two machines agree on."""
        claims = [claim.as_dict() for claim in self.claims]
        return rounded({"format": FORMAT, **asdict(self), "claims": claims})

    def save(self, path: Path | str) -> None:
        """Write `claims.json`."""
        write_text(Path(path), json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n")


def rounded(value: Any) -> Any:
    """Return a JSON value with numbers rounded to six decimal places."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, (list, tuple)) else value
