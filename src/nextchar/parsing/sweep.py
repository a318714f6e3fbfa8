"""The temperature sweep: structure, novelty and self-surprise against tau, and the tau most like real text."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

from nextchar.evaluation.novelty import Training
from nextchar.parsing.report import COPIED, Structure, get_domain, structure
from nextchar.sampling.engine import Filters
from nextchar.sampling.sample import SampleOptions, sample
from nextchar.storage import ModelFile

TEMPERATURES = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How samples are written, by a model or a table of n-grams.

    Attributes:
        count: How many.
        length: Characters of each.
        temperature: Tau.
        seed: Of the writing.
    """

    count: int = 100
    length: int = 3000
    temperature: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """What a model writes at one temperature.

    Attributes:
        temperature: Tau.
        structure: Of its samples.
        bits_per_char: How surprised the model is at its own text, at temperature 1.
    """

    temperature: float
    structure: Structure
    bits_per_char: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        values = {"temperature": self.temperature, "bits_per_char": self.bits_per_char}
        return values | self.structure.as_dict()

    def distance(self, real: Structure) -> float:
        """Return how far it is from real text: the mean difference of all shares, in percentage points."""
        known = {measure.name: measure.value for measure in real.measures if measure.unit == "%"}
        apart = [
            # Where there is no piece, none is sound.
            abs((0.0 if math.isnan(measure.value) and measure.sound else measure.value) - known[measure.name])
            for measure in self.structure.measures
            if measure.name in known
        ]
        apart = [each for each in apart if not math.isnan(each)]
        return sum(apart) / len(apart) if apart else math.inf


def write(model: ModelFile, how: Writing) -> tuple[list[str], float]:
    """Write samples from the empty state; return them and the model's bits per character at them."""
    options = SampleOptions(length=how.length, filters=Filters(how.temperature), seed=how.seed)
    samples = sample(model, "", options, count=how.count)
    chars = sum(each.chars for each in samples)
    nats = sum(each.nats_per_char * each.chars for each in samples) / max(chars, 1)
    return [each.text for each in samples], nats / math.log(2)


def sweep(
    model: ModelFile,
    domain: str,
    training: Training,
    how: Writing,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Iterator[Point]:
    """Yield what a model writes at each temperature, in the order given; that of `how` is not used."""
    for temperature in temperatures:
        samples, bits = write(model, replace(how, temperature=temperature))
        yield Point(temperature, structure(samples, domain, training=training, seed=how.seed), bits)


def sweet_spot(points: Sequence[Point], real: Structure) -> Point:
    """Return the point most like real text."""
    return min(points, key=lambda point: point.distance(real))


def figure(points: Sequence[Point], real: Structure, title: str) -> str:
    """Draw a sweep as SVG: structure above, novelty in the middle, self-surprise below, real text dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only a figure needs it

    taus = [point.temperature for point in points]
    canvas = Figure(figsize=(10, 8), layout="constrained")
    above, middle, below = canvas.subplots(3, 1, sharex=True)
    headline = get_domain(real.domain).headline
    sound = [measure.name for measure in real.measures if measure.sound and measure.of]
    for axes, names in (
        (above, [headline, *(name for name in sound if name != headline)][:4]),
        (middle, ["words known from training", COPIED, "characters in loops"]),
    ):
        for name, colour in zip(names, ("C0", "C1", "C2", "C3"), strict=False):
            lines = [point.structure[name] for point in points]
            axes.plot(taus, [each.value for each in lines], color=colour, marker="o", label=name)
            axes.fill_between(
                taus, [each.low for each in lines], [each.high for each in lines], color=colour, alpha=0.15
            )
            axes.axhline(real[name].value, color=colour, linestyle="--", linewidth=1)
        axes.set(ylabel="%", ylim=(-3, 103))
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    below.plot(taus, [point.bits_per_char for point in points], color="C4", marker="o")
    below.set(ylabel="bits per character,\nthe model at its own text", xlabel="temperature")
    best = sweet_spot(points, real).temperature
    for axes in (above, middle, below):
        axes.axvline(best, color="grey", linewidth=1)
    above.set_title(f"{title}: most like real text at {best:g}; dashed, real text")
    return svg(canvas)


def svg(canvas: object) -> str:
    """Return a matplotlib figure as SVG that is the same every time."""
    import matplotlib as mpl  # noqa: PLC0415  only a figure needs it

    out = StringIO()
    with mpl.rc_context({"svg.hashsalt": "nextchar"}):
        canvas.savefig(out, format="svg", metadata={"Date": None})  # type: ignore[attr-defined]
    return out.getvalue()
