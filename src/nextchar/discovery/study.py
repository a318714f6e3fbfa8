"""The study: a model, a text and its features, and how strongly every unit follows every feature, beside four nulls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery import nulls
from nextchar.discovery.feature_sets import Labeller, labeller
from nextchar.discovery.scores import Doubles, design, signed, strengths
from nextchar.discovery.states import Split, States, read_states, split
from nextchar.errors import TextError, as_integer, check_fields
from nextchar.features.feature import MIN_POSITIVES, MIN_RUNS, Feature, keep
from nextchar.features.suffixes import Suffixes
from nextchar.language_model import LanguageModel
from nextchar.storage import ModelSource, to_file, to_language_model

MIN_CHARACTERS = 5000  # with fewer, halves, gaps and blocks are too small for any conclusion

OnProgress = Callable[[str], object]


def ignore(_message: str) -> None:
    """Report no progress."""


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
class Study:
    """A model and a text of T characters, read and labelled.

    Attributes:
        lm: The model, on the CPU.
        ids: The text, `(T,)`.
        text: The text, one character per id.
        profile: Name of the features.
        label: Makes the features of any text.
        features: Those that are frequent enough.
        dropped: The others, and how rare they are.
        halves: The places to choose on and to score on.
        states: Of all units.
        suffixes: Of the text.
        search: The settings.
    """

    lm: LanguageModel
    ids: npt.NDArray[Any]
    text: str
    profile: str
    label: Labeller
    features: list[Feature]
    dropped: dict[str, str]
    halves: Split
    states: States
    suffixes: Suffixes
    search: Search


@dataclass(frozen=True, slots=True)
class Strengths:
    """Strengths of U units on F features, and the strengths of the best under each null.

    Attributes:
        fit: Signed, on the fit half, `(U, F)`.
        held: Signed, on the held-out half, `(U, F)`.
        aligned: As `held`, but computed as in the shifts: unknown labels have weight 0, `(U, F)`.
        null_shifted: Best unit in every circular shift, `(shifts, F)`.
        null_untrained: Best unit of every untrained network, `(networks, F)`.
        null_shuffled: Best unit of every network with shuffled weights, `(networks, F)`.
        null_rotated: Best random direction in every rotation, `(rotations, F)`.
    """

    fit: Doubles
    held: Doubles
    aligned: Doubles
    null_shifted: Doubles
    null_untrained: Doubles
    null_shuffled: Doubles
    null_rotated: Doubles


def prepare(
    model: ModelSource,
    text: str | bytes | npt.NDArray[Any],
    features: str,
    search: Search,
    on_progress: OnProgress = ignore,
) -> Study:
    """Label a text and read it with a model.

    Raises:
        ConfigError: Unknown features.
        ModelFileError: There is no such model.
        TextError: The text is too short, or no feature is frequent enough.
        UnknownCharacterError: The text has characters that the model does not know.
    """
    lm = to_language_model(model)
    if lm.network.head.weight.device.type != "cpu":
        lm = to_language_model(to_file(lm))  # counting is done by numpy, and edits step by step
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text)
    if len(ids) < MIN_CHARACTERS:
        raise TextError(f"the text has {len(ids):,} characters; discovering needs {MIN_CHARACTERS:,}, better 200,000")
    # The bytes of a byte model become the characters of the same numbers, so that there is one label per byte.
    plain = "".join(map(chr, np.array(lm.vocabulary.codes)[ids].tolist()))
    profile, label = labeller(features, plain)
    halves = split(len(ids))
    kept, dropped = keep(list(label(plain)), search.least_positives, search.least_runs, (halves.fit, halves.held))
    if not kept:
        raise TextError(
            f"none of the {len(dropped)} features is frequent enough in {len(ids):,} characters; give more text"
        )
    on_progress(f"reading {len(ids):,} characters, {len(kept)} features of kind {profile}")
    states, suffixes = read_states(lm, ids), Suffixes(ids)
    return Study(lm, ids, plain, profile, label, kept, dropped, halves, states, suffixes, search)


def measure(study: Study, on_progress: OnProgress = ignore) -> Strengths:
    """Score every unit on every feature, and the best of all units under each null."""
    features, halves, states, search = study.features, study.halves, study.states, study.search
    ranks, scaled = states.ranks(halves.held), states.standardized(halves.held)
    aligned = signed(ranks, scaled, design(features, halves.held))
    on_progress(f"{search.shifts} shifts")
    amounts = nulls.shifts(len(halves.held), search.shifts, search.seed)
    shifted = nulls.shifted_best(ranks, scaled, features, halves.held, amounts)
    del ranks, scaled
    on_progress("untrained networks")
    seeds = range(search.seed, search.seed + search.untrained)
    untrained, shuffled = (
        np.stack([_best_of(make(study.lm, seed), study) for seed in seeds])
        for make in (nulls.untrained, nulls.shuffled)
    )
    on_progress(f"{search.rotations} random rotations")
    return Strengths(
        fit=strengths(states, features, halves.fit),
        held=strengths(states, features, halves.held),
        aligned=aligned,
        null_shifted=shifted,
        null_untrained=untrained,
        null_shuffled=shuffled,
        null_rotated=nulls.rotated(states, features, halves, draws=search.rotations, seed=search.seed),
    )


def _best_of(lm: LanguageModel, study: Study) -> Doubles:
    """Return the strength of the best unit of another network on every feature, `(F,)`."""
    states = read_states(lm, study.ids)
    return np.asarray(np.abs(strengths(states, study.features, study.halves.held)).max(0))
