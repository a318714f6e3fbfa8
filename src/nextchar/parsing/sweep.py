"""The temperature sweep: structure and novelty of samples by temperature, and the temperature most like real text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from nextchar.errors import ConfigError
from nextchar.evaluation.novelty import Training
from nextchar.parsing.report import COPIED, KNOWN, LOOPS, Structure, structure
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile

TEMPERATURES = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6)
SHORTEST = 100  # characters of a sample, so that it can hold a piece


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """Which samples to generate, with a model or a table of n-grams.

    Attributes:
        count: Number of samples.
        length: Characters of each.
        temperature: Of sampling.
        seed: Of sampling.

    Raises:
        ConfigError: A value is out of range.
    """

    count: int = 100
    length: int = 3000
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.count < 1:
            raise ConfigError(f"the count is {self.count}, but must be 1 or more")
        if self.length < SHORTEST:
            raise ConfigError(
                f"the length is {self.length}, but samples need at least {SHORTEST} characters to hold a piece"
            )
        self.options()

    def options(self) -> SampleOptions:
        """Return the options for `nextchar.sample`, which check temperature and seed."""
        return SampleOptions(length=self.length, params=SamplingParams(self.temperature), seed=self.seed)


@dataclass(frozen=True, slots=True)
class Point:
    """The samples of a model at one temperature.

    Attributes:
        temperature: Of sampling.
        structure: Of the samples.
        bits_per_char: Mean surprisal of the samples under the model itself, at temperature 1.
    """

    temperature: float
    structure: Structure
    bits_per_char: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        values = {"temperature": self.temperature, "bits_per_char": self.bits_per_char}
        return values | self.structure.as_dict()

    def distance(self, real: Structure) -> float:
        """Return the mean absolute difference of all shares from those of real text, in percentage points."""
        expected = {measure.name: measure.value for measure in real.measures if measure.unit == "%"}
        differences = [
            # A share of valid pieces is 0 if there is no piece.
            abs((0.0 if math.isnan(each.value) and each.valid else each.value) - expected[each.name])
            for each in self.structure.measures
            if each.name in expected
        ]
        differences = [each for each in differences if not math.isnan(each)]
        return sum(differences) / len(differences) if differences else math.inf


def generate(model: ModelFile, request: SampleRequest) -> tuple[list[str], float]:
    """Generate samples from the empty state; return them and their bits per character under the model."""
    samples = sample(model, "", request.options(), count=request.count)
    chars = sum(each.chars for each in samples)
    nats = sum(each.nats_per_char * each.chars for each in samples) / max(chars, 1)
    return [each.text for each in samples], nats / math.log(2)


def sweep(
    model: ModelFile,
    domain: str,
    training: Training,
    request: SampleRequest,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Iterator[Point]:
    """Yield a point for each temperature, in the order given; the temperature of the request is ignored."""
    for temperature in temperatures:
        samples, bits = generate(model, replace(request, temperature=temperature))
        yield Point(temperature, structure(samples, domain, training=training, seed=request.seed), bits)


def sweet_spot(points: Sequence[Point], real: Structure) -> Point:
    """Return the point most like real text."""
    return min(points, key=lambda point: point.distance(real))


def figure(points: Sequence[Point], real: Structure, title: str) -> str:
    """Plot a sweep as SVG: structure, novelty and bits per character against temperature, real text dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    temperatures = [point.temperature for point in points]
    canvas = Figure(figsize=(10, 8), layout="constrained")
    above, middle, below = canvas.subplots(3, 1, sharex=True)
    headline = real.measures[0].name
    shares = [each.name for each in real.measures if each.valid and each.of and each.name != headline]
    for axes, names in ((above, [headline, *shares][:4]), (middle, [KNOWN, COPIED, LOOPS])):
        for index, name in enumerate(names):
            color = f"C{index}"
            values, lows, highs = zip(
                *((each.value, each.low, each.high) for each in (p.structure[name] for p in points)), strict=True
            )
            axes.plot(temperatures, values, color=color, marker="o", label=name)
            axes.fill_between(temperatures, lows, highs, color=color, alpha=0.15)
            axes.axhline(real[name].value, color=color, linestyle="--", linewidth=1)
        axes.set(ylabel="%", ylim=(-3, 103))
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    below.plot(temperatures, [point.bits_per_char for point in points], color="C4", marker="o")
    below.set(ylabel="bits per character,\nsamples under the model", xlabel="temperature")
    best = sweet_spot(points, real).temperature
    for axes in (above, middle, below):
        axes.axvline(best, color="grey", linewidth=1)
    above.set_title(f"{title}: most like real text at {best:g}; dashed: real text")
    return svg(canvas)


def svg(canvas: Any) -> str:
    """Return a matplotlib figure as SVG, the same bytes for the same figure."""
    import matplotlib as mpl  # noqa: PLC0415  takes long to import

    out = StringIO()
    with mpl.rc_context({"svg.hashsalt": "nextchar"}):
        canvas.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
