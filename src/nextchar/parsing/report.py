"""The report: every measure of a domain over some samples, with intervals, and beside it what was copied."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np

from nextchar.errors import ConfigError, TextError, did_you_mean
from nextchar.evaluation.novelty import WINDOW, Training, looping
from nextchar.kernels.threads import available_cores
from nextchar.parsing.domain import Domain, Ratio, Tally, Unit

DOMAINS = ("abc", "c", "drama", "latex", "python", "wikitext")
RESAMPLES = 1000
NONE = Ratio(0, 0)
COPIED = f"windows of {WINDOW} characters copied from training"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure.

    Attributes:
        name: What it is of.
        value: A share in percent, a rate or a mean; nan where there was nothing to count.
        low: The lower end of a 95 % interval, found by drawing the samples again with replacement.
        high: The upper end.
        unit: "%", "per 1000 chars" or "chars".
        of: Of how many pieces, lines, words or windows.
        sound: Whether it is of structure, and more is better.
    """

    name: str
    value: float
    low: float
    high: float
    unit: Unit
    of: float
    sound: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """What some samples are like.

    Attributes:
        domain: What they were read as.
        samples: How many.
        chars: Their characters.
        measures: In the order of the report.
        longest_copy: Characters of the longest substring that stands in the training text; None without one.
        copy: That substring.
        skipped: What was left out and what would mend it, a sentence each.
    """

    domain: str
    samples: int
    chars: int
    measures: tuple[Measure, ...]
    longest_copy: int | None
    copy: str
    skipped: tuple[str, ...]

    def __getitem__(self, name: str) -> Measure:
        """Return a measure by its name."""
        return next(measure for measure in self.measures if measure.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON, where nan is None."""
        values = asdict(self)
        for measure in values["measures"]:
            for key in ("value", "low", "high"):
                measure[key] = None if np.isnan(measure[key]) else round(measure[key], 4)
        return values


def get_domain(name: str) -> Domain:
    """Return a domain by its name.

    Raises:
        ConfigError: There is none; names those there are.
    """
    if name not in DOMAINS:
        raise ConfigError(
            f"the domain is '{name}', but must be one of {', '.join(DOMAINS)}{did_you_mean(name, DOMAINS)}"
        )
    domain: Domain = import_module(f"nextchar.parsing.{name}").DOMAIN
    return domain


def structure(
    samples: Sequence[str], domain: str, *, training: Training | str | None = None, seed: int = 0
) -> Structure:
    """Check samples against what is known of their domain.

    Args:
        samples: Texts of some thousand characters; each may begin and end anywhere.
        domain: "abc", "c", "drama", "latex", "python" or "wikitext".
        training: What the writer of the samples has learnt from, for what was copied and which words are known.
        seed: Of the intervals.

    Raises:
        ConfigError: There is no such domain.
        TextError: There is no sample.
        MissingExtraError: The parser of the domain is not installed.
    """
    known = get_domain(domain)
    if not any(samples):
        raise TextError("there is no sample to check")
    learnt = Training(training) if isinstance(training, str) else training
    facts = known.learn(learnt.text) if learnt else None
    tallies = _tallies(known, samples, facts)
    longest, copy = None, ""
    if learnt:
        copies = learnt.copies(samples)
        longest, copy = copies.longest, copies.text
        for sample, tally, windows in zip(samples, tallies, copies.windows, strict=True):
            tally["words known from training"] = Ratio(*learnt.known_words(sample))
            tally[COPIED] = Ratio(*windows)
    for sample, tally in zip(samples, tallies, strict=True):
        tally["characters in loops"] = Ratio(looping(sample), len(sample))
    return Structure(
        domain,
        len(samples),
        sum(map(len, samples)),
        tuple(_measures(tallies, seed)),
        longest,
        copy,
        tuple(program.missing() for program in known.programs if not program.there()),
    )


def _tallies(domain: Domain, samples: Sequence[str], facts: Any) -> list[Tally]:
    """Check every sample; side by side where that means to wait for programs, since Python's parsers take turns anyway."""
    if not any(program.there() for program in domain.programs):
        return [domain.check(sample, facts) for sample in samples]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda sample: domain.check(sample, facts), samples))


def _measures(tallies: Sequence[Tally], seed: int) -> Iterable[Measure]:
    """Add the samples up, measure by measure, in the order in which they first come."""
    drawn = np.random.default_rng(seed).integers(len(tallies), size=(RESAMPLES, len(tallies)))
    kinds = {name: ratio[2:] for tally in tallies for name, ratio in tally.items()}
    for name, (unit, sound) in kinds.items():
        parts, wholes = np.array([tally.get(name, NONE)[:2] for tally in tallies], float).T
        scale = 100.0 if unit == "%" else 1.0
        total = wholes.sum()
        value = scale * parts.sum() / total if total else np.nan
        sums = wholes[drawn].sum(1)
        again = scale * parts[drawn].sum(1)[sums > 0] / sums[sums > 0]
        low, high = np.quantile(again, [0.025, 0.975]) if len(again) else (np.nan, np.nan)
        yield Measure(name, float(value), float(low), float(high), unit, float(total), sound)
