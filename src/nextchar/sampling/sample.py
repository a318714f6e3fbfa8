"""Text from a model: streamed as it is written, or whole, with why it ended and how surprised the model was."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from nextchar.errors import ConfigError
from nextchar.sampling.engine import Engine, Filters
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Ids, Unknown, Vocabulary

if TYPE_CHECKING:
    from nextchar.language_model import LanguageModel

FinishReason = Literal["length", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """What to write.

    Attributes:
        length: Characters (bytes for a byte model) at the most.
        filters: How each is chosen.
        stop: The text ends before the first of these strings; they are not part of it.
        seed: The same seed gives the same text.
        unknown: What to do with characters of the prompt that the model has never seen.
    """

    length: int = 500
    filters: Filters = field(default_factory=Filters)
    stop: tuple[str, ...] = ()
    seed: int = 0
    unknown: Unknown = "error"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.length < 0:
            raise ConfigError(f"the length is {self.length}, but must be 0 or more")
        if self.seed < 0:
            raise ConfigError(f"the seed is {self.seed}, but must be 0 or more")
        if "" in self.stop:
            raise ConfigError("a stop string is empty; every text would end at once")


@dataclass(frozen=True, slots=True)
class Sample:
    """One text.

    Attributes:
        text: What was written after the prompt.
        chars: How many characters (bytes for a byte model) that is.
        finish_reason: "length", or "stop" where a stop string came.
        nats_per_char: The mean surprise of the model at its own text, unfiltered and at temperature 1.
    """

    text: str
    chars: int
    finish_reason: FinishReason
    nats_per_char: float


def sample(
    model: "ModelFile | LanguageModel",
    prompt: str = "",
    options: SampleOptions | None = None,
    *,
    count: int = 1,
) -> list[Sample]:
    """Write `count` texts; text k draws from a random stream of its own, so it is the same in any company."""
    writer = Writer(model, options or SampleOptions())
    return [writer.whole(prompt, index) for index in range(count)]


def stream(
    model: "ModelFile | LanguageModel", prompt: str = "", options: SampleOptions | None = None
) -> Iterator[str]:
    """Yield a text piece by piece, as it is written."""
    writer = Writer(model, options or SampleOptions())
    # The edge of a piece, and the end of the text, may cut a character of a byte model.
    return codecs.iterdecode(writer.pieces(prompt, 0), "utf-8", errors="replace")


class Writer:
    """Writes texts with one model and one set of options."""

    def __init__(self, model: "ModelFile | LanguageModel", options: SampleOptions) -> None:
        file = model if isinstance(model, ModelFile) else to_file(model)
        self.vocabulary: Vocabulary = file.vocabulary
        self.options = options
        self._engine = Engine(file)
        self.finish_reason: FinishReason = "length"
        self.chars = 0
        self.nats = 0.0

    def whole(self, prompt: str, index: int) -> Sample:
        """Write text number `index`."""
        written = b"".join(self.pieces(prompt, index)).decode(errors="replace")
        return Sample(written, self.chars, self.finish_reason, self.nats / max(self.chars, 1))

    def pieces(self, prompt: str, index: int) -> Iterator[bytes]:
        """Return text number `index` in UTF-8 (or as the bytes of a byte model), piece by piece, as it becomes certain.

        What could be the beginning of a stop string is held back until it is known not to be one. Afterwards
        `chars`, `nats` and `finish_reason` say how it went.

        Raises:
            UnknownCharacterError: At once, before the first piece.
        """
        return self._pieces(
            self.vocabulary.encode(prompt, unknown=self.options.unknown, where="the prompt"), index
        )

    def _pieces(self, ids: Ids, index: int) -> Iterator[bytes]:
        options = self.options
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence((options.seed, index))))
        stops = tuple(stop.encode() for stop in options.stop)
        self.finish_reason, self.chars, self.nats = "length", 0, 0.0
        held: list[tuple[bytes, float]] = []
        choices = self._engine.write(ids, options.filters, random)
        for _, choice in zip(range(options.length), choices, strict=False):
            held.append((self.vocabulary.to_bytes([choice.id]), choice.nats))
            waiting = b"".join(piece for piece, _ in held)
            if any(stop in waiting for stop in stops):
                self.finish_reason = "stop"
                cut = min(waiting.index(stop) for stop in stops if stop in waiting)
                yield self._release(held, cut)
                return
            keep = max((overlap(waiting, stop) for stop in stops), default=0)
            if piece := self._release(held, len(waiting) - keep):
                yield piece
        if rest := self._release(held, sum(len(piece) for piece, _ in held)):
            yield rest

    def _release(self, held: list[tuple[bytes, float]], size: int) -> bytes:
        """Let go of the first `size` bytes held back, and count them."""
        released = b""
        while held and len(released) < size:
            piece, nats = held.pop(0)
            released += piece
            self.chars += 1
            self.nats += nats
        return released


def overlap(text: bytes, stop: bytes) -> int:
    """Return how many bytes at the end of a text are the beginning of a stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
