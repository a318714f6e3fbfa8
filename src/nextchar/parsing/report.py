"""The report: every measure of a domain over some samples, with intervals, and how much of them was copied."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from nextchar.errors import ConfigError, TextError, check_choice
from nextchar.evaluation.novelty import WINDOW, Training, looping
from nextchar.kernels.threads import available_cores
from nextchar.parsing.domain import Domain, Ratio, Tally, Unit

DomainName = Literal["abc", "c", "drama", "latex", "python", "wikitext"]
RESAMPLES = 1000
COPIED = f"windows of {WINDOW} characters copied from training"
KNOWN = "words known from training"
LOOPS = "characters in loops"


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a report.

    Attributes:
        name: What was measured.
        value: A share in percent, a rate or a mean; nan if there was nothing to count.
        low: Lower end of the 95 % bootstrap interval over samples.
        high: Its upper end.
        unit: "%", "per 1000 chars" or "chars".
        of: The denominator: number of pieces, lines, words or windows.
        valid: Whether it is a share of valid structure, so that higher is better; "sound" in JSON.
    """

    name: str
    value: float
    low: float
    high: float
    unit: Unit
    of: float
    valid: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON, with None for nan."""
        values = asdict(self)
        values["sound"] = values.pop("valid")
        return values | {
            key: None if np.isnan(values[key]) else round(values[key], 4) for key in ("value", "low", "high")
        }


@dataclass(frozen=True, slots=True)
class Structure:
    """The report on some samples.

    Attributes:
        domain: The domain they were parsed as.
        samples: Number of samples.
        chars: Their characters.
        measures: In the order of the report.
        longest_copy: Length of the longest substring that occurs in the training text; None without one.
        copy: That substring.
        skipped: A sentence for each program that is not installed: what was skipped, and the remedy.
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
        """Return the values by name, for JSON."""
        return asdict(self) | {"measures": [measure.as_dict() for measure in self.measures]}


def shown(value: float) -> str:
    """Return a value with one decimal; a dash for nan."""
    return "-" if np.isnan(value) else f"{value:.1f}"


def get_domain(name: str) -> Domain:
    """Return a domain by its name.

    Raises:
        ConfigError: There is no such domain; the message lists the domains.
    """
    check_choice("the domain", name, DomainName)
    domain: Domain = import_module(f"nextchar.parsing.{name}").DOMAIN
    return domain


def structure(
    samples: str | Sequence[str], domain: str, *, training: Training | str | None = None, seed: int = 0
) -> Structure:
    """Parse samples with the parsers of their domain, and count what is valid.

    Args:
        samples: Texts of some thousand characters, which may begin and end anywhere; a str is one sample.
        domain: "abc", "c", "drama", "latex", "python" or "wikitext".
        training: The training text of the model that generated the samples, to measure copies and known words.
        seed: Of the bootstrap intervals.

    Raises:
        ConfigError: There is no such domain, or the seed is negative.
        TextError: There is no sample.
        MissingExtraError: The parser of the domain is not installed.
    """
    known = get_domain(domain)
    samples = [samples] if isinstance(samples, str) else samples
    if not any(samples):
        raise TextError("there is no sample to check")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}, but must be 0 or more")
    learned = Training(training) if isinstance(training, str) else training
    tallies = _tallies(known, samples, known.learn(learned.text) if learned else None)
    copies = learned.copies(samples) if learned else None
    if learned and copies:
        for sample, tally, windows in zip(samples, tallies, copies.windows, strict=True):
            tally[KNOWN] = Ratio(*learned.known_words(sample))
            tally[COPIED] = Ratio(*windows)
    for sample, tally in zip(samples, tallies, strict=True):
        tally[LOOPS] = Ratio(looping(sample), len(sample))
    return Structure(
        domain,
        len(samples),
        sum(map(len, samples)),
        tuple(_measures(tallies, seed)),
        copies.longest if copies else None,
        copies.text if copies else "",
        tuple(program.missing() for program in known.programs if not program.is_installed()),
    )


def _tallies(domain: Domain, samples: Sequence[str], learned: Any) -> list[Tally]:
    """Check every sample; in threads only if external programs run, because Python's parsers hold the interpreter lock."""
    if not any(program.is_installed() for program in domain.programs):
        return [domain.check(sample, learned) for sample in samples]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda sample: domain.check(sample, learned), samples))


def _measures(tallies: Sequence[Tally], seed: int) -> Iterable[Measure]:
    """Sum the samples' ratios and bootstrap their intervals, in the order in which the measures first occur."""
    drawn = np.random.default_rng(seed).integers(len(tallies), size=(RESAMPLES, len(tallies)))
    kinds = {name: ratio for tally in tallies for name, ratio in tally.items()}
    for name, kind in kinds.items():
        parts, wholes = np.array([tally.get(name, (0, 0))[:2] for tally in tallies], float).T
        scale = 100.0 if kind.unit == "%" else 1.0
        total = float(wholes.sum())
        value = scale * float(parts.sum()) / total if total else np.nan
        sums = wholes[drawn].sum(1)
        ratios = scale * parts[drawn].sum(1)[sums > 0] / sums[sums > 0]
        low, high = np.quantile(ratios, [0.025, 0.975]) if len(ratios) else (np.nan, np.nan)
        yield Measure(name, value, float(low), float(high), kind.unit, total, kind.valid)
