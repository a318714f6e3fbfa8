"""The value that every verb takes: a network with its vocabulary, its options and its provenance.

Its methods are the public functions, which stand above this file: `lm.sample("It was ")` is `nextchar.sample(lm, "It was ")`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from os.path import isfile
from typing import Any, Unpack, overload

import nextchar
from nextchar.architecture import WeightKind
from nextchar.errors import TextError, check_options
from nextchar.keywords import InspectKeywords, SampleKeywords, ScoreKeywords
from nextchar.model.network import Network
from nextchar.notebook import card, curve, summary
from nextchar.text.vocabulary import Vocabulary

LENGTH, TEXTS = 300, 3  # characters of a sample, and names of texts, in a notebook


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A trained network with everything needed to use it.

    Attributes:
        network: The torch module. The fields are frozen; the weights can be changed as usual in torch.
        vocabulary: What the ids stand for.
        config: The options it was trained with, by name.
        provenance: Its origin: texts with digests, splits, steps, last scores.
        log: The log of its training, if it is at hand: an entry for each event.
        weights: The kind of weights that it generates with and is saved with; the network has float32 in any case.

    Example:
        >>> lm = nextchar.load("runs/book")
        >>> print(lm.sample("It was ", length=500, temperature=0.8))
    """

    network: Network
    vocabulary: Vocabulary
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    log: Sequence[Mapping[str, Any]] = field(default=(), compare=False)
    weights: WeightKind = "fp32"

    def __repr__(self) -> str:
        return summary("LanguageModel", self.network.architecture, self.vocabulary, self.provenance)

    def _repr_html_(self) -> str:
        shape, size, origin = self.network.architecture, len(self.vocabulary), self.provenance
        facts = [
            ("network", f"{shape}, {shape.parameters(size):,} weights, {size:,} {self.vocabulary.units}"),
            ("texts", ", ".join(str(text["name"]) for text in origin.get("texts", [])[:TEXTS])),
            ("training", f"{origin.get('step', 0):,} steps, {origin.get('epochs', 0):.2f} epochs"),
        ]
        if valid := origin.get("valid"):
            meaning = f"0 is certain, a uniform guess is {math.log2(size):.2f}, lower is better"
            facts.append(("score", f"{valid['bits_per_char']:.3f} bits per character on held-out text ({meaning})"))
        sample = self.sample(length=LENGTH, temperature=0.8)
        return card("LanguageModel", facts, curve(self.log), sample._repr_html_())

    @overload
    def sample(
        self, prompt: str = "", *, count: None = None, **options: Unpack[SampleKeywords]
    ) -> "nextchar.Sample": ...
    @overload
    def sample(self, prompt: str = "", *, count: int, **options: Unpack[SampleKeywords]) -> "list[nextchar.Sample]": ...
    def sample(
        self, prompt: str = "", *, count: int | None = None, **options: Unpack[SampleKeywords]
    ) -> "nextchar.Sample | list[nextchar.Sample]":
        """Generate a text that continues a prompt, or a list of `count` texts; see `nextchar.sample`."""
        return nextchar.sample(self, prompt, count=count, **options)

    def stream(self, prompt: str = "", **options: Unpack[SampleKeywords]) -> Iterator[str]:
        """Yield a text in pieces while it is generated; see `nextchar.stream`."""
        return nextchar.stream(self, prompt, **options)

    def score(self, text: str | bytes, **options: Unpack[ScoreKeywords]) -> "nextchar.Score":
        """Score a text; see `nextchar.evaluate`."""
        _check_text(text)
        check_options(options, ScoreKeywords.__annotations__)
        return nextchar.evaluate(self, text, **options)

    def inspect(self, text: str | bytes, **options: Unpack[InspectKeywords]) -> "nextchar.Page":
        """Return the page of a text: what the network computes while it reads; see `nextchar.inspect`."""
        _check_text(text)
        check_options(options, InspectKeywords.__annotations__)
        return nextchar.inspect(self, text, **options)

    def export(
        self, path: str | PathLike[str], *, weights: WeightKind | None = None, text: str | Sequence[str] = ()
    ) -> None:
        """Write the model in the form of other programs, which the ending of the path decides; see `nextchar.export`."""
        nextchar.export(self, path, weights=weights, text=text)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a file; see `nextchar.save`."""
        nextchar.save(self, path)


def _check_text(text: object) -> None:
    """Refuse the name of a file, whose few characters would be read instead of its content."""
    if isinstance(text, str | PathLike) and isfile(text):  # noqa: PTH113  a Path refuses a text that is too long for a name
        raise TextError(f"'{text}' is the name of a file; give its text, as in Path({str(text)!r}).read_text()")
