"""Claims: which unit follows what, with everything that speaks for and against it; the same again when run again."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nextchar.discovery.features import LEAST_POSITIVES, LEAST_RUNS
from nextchar.errors import ConfigError
from nextchar.storage import write_text

FORMAT = 1
STEERED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How hard to look.

    Attributes:
        shifts: Circular shifts, the null of chance; with fewer than 99 no adjusted p could be small enough.
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
        for name, least in (("shifts", 99), ("rotations", 1), ("untrained", 1), ("steered", 0), ("seed", 0)):
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
