"""Claims: which unit follows which feature, with the evidence for and against, and the JSON they are written as."""

import json
import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nextchar.discovery.ablation import Effect
from nextchar.discovery.judging import VERDICTS, Evidence
from nextchar.discovery.probes import Probe
from nextchar.discovery.steering import Patching, Steering
from nextchar.features.feature import FeatureSummary
from nextchar.inspection.naming import Measure
from nextchar.notebook import card
from nextchar.storage import write_text
from nextchar.text.display import visible

FORMAT = 1
TITLE = "What this network noticed by itself"
EXPLAINED = (
    "Neurons are named LAYER:UNIT, both counted from 0. Bits per character: 0 is certain, a uniform guess over {} "
    "characters is {:.2f}; lower is better."
)
NOTHING = (
    "Nothing yet: no neuron follows a feature of this text better than the neurons of an untrained network and a table of "
    "the last 8 characters do. Train longer (--minutes 10 or more), or read a longer text (--last-chars 200000)."
)

Entry = dict[str, Any]
"""Values by name, as they are in the JSON."""


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
        about: How often the feature occurs.
        effect: What ablating the unit does; None if it was not ablated.
        patch: How much patching the unit alone restores of the effect of an opening mark; None likewise.
        steer: What holding the unit does to generated text; None likewise.
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
    about: FeatureSummary
    effect: Effect | None = None
    patch: Patching | None = None
    steer: Steering | None = None

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
class Finding:
    """What a network noticed, in words: the best claim among those that say the same.

    Attributes:
        feature: Of the claim.
        unit: LAYER:UNIT.
        name: What it does, to follow its name, such as "knows it is inside { }".
        measure: "balanced accuracy" of a feature that is on or off, or "correlation" with a number.
        score: That, on the half of the text on which the unit was not chosen.
        numbers: A sentence with its held-out score beside an untrained network and a table of the last characters.
        held: Sentences on what holding the unit does.
        also: The other claims that say the same, such as "0:12 knows how deep it is inside { }".
        others: Other units that follow the feature better than the nulls, and their scores.
        rises: After which two characters (`after`) it changes most towards the feature; mean `change`, and how many `times`.
        falls: After which it changes most away from it.
    """

    feature: str
    unit: str
    name: str
    measure: Measure
    score: float
    numbers: str
    held: str
    also: list[str]
    others: list[str]
    rises: list[Entry]
    falls: list[Entry]

    def sentences(self) -> list[str]:
        """Return all of it but its name, in words."""
        rises, falls = ([f"“{turn['after']}”" for turn in turns] for turns in (self.rises, self.falls))
        lists = {"It turns on most after": rises, "It turns off most after": falls, "Also:": self.also}
        lists["Other neurons that follow it:"] = self.others
        said = [f"{words} {', '.join(map(visible, items))}." for words, items in lists.items() if items]
        return [self.numbers, self.held, *said]


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
        findings: Those that are at least `detects`, in words and merged, at most eight.
    """

    model: dict[str, Any]
    text: dict[str, Any]
    settings: dict[str, Any]
    claims: list[Claim]
    dropped: dict[str, str]
    unexplained: list[Entry]
    table: Entry
    findings: Sequence[Finding] = ()

    def __repr__(self) -> str:
        counts = Counter(claim.verdict for claim in self.claims)
        found = ", ".join(f"{counts[name]} {name}" for name in reversed(VERDICTS) if counts[name])
        return f"<Claims about {len(self.claims)} features: {found}>"

    def __str__(self) -> str:
        return self.in_words()

    def _repr_html_(self) -> str:
        facts = [(each.unit, f"{each.name}. {each.numbers}") for each in self.findings]
        return card(repr(self)[1:-1], facts or [("", NOTHING)])

    def __getitem__(self, feature: str) -> Claim:
        """Return the claim about a feature."""
        return next(claim for claim in self.claims if claim.feature == feature)

    def explained(self) -> str:
        """Say what the names of neurons and the numbers of findings mean."""
        return EXPLAINED.format(self.model["vocabulary"], math.log2(self.model["vocabulary"]))

    def in_words(self, width: int = 80) -> str:
        """Return the findings in words, in lines of at most `width` columns."""
        body = partial(textwrap.fill, width=width, initial_indent="  ", subsequent_indent="  ")
        names = [textwrap.fill(f"{each.unit} {visible(each.name)}", width) for each in self.findings]
        found = [
            "\n".join([name, *map(body, each.sentences())]) for name, each in zip(names, self.findings, strict=True)
        ]
        explained = self.explained() if self.findings else NOTHING
        return "\n\n".join([TITLE, *found, textwrap.fill(explained, width)])

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
