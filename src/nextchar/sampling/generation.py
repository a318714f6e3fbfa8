"""From engine to text: stop strings, pieces as they become certain, and many texts in threads."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Event
from typing import Any, Literal

import numpy as np

from nextchar.errors import ConfigError, as_integer
from nextchar.notebook import coloured
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.protocol import Batch, Nats, PromptState
from nextchar.storage import ModelSource
from nextchar.text.vocabulary import UNKNOWN, Vocabulary

FinishReason = Literal["length", "stop"]

# The most characters of one call: short enough that a reader does not notice the pause, and Ctrl-C is handled
# soon.
CHUNK = 32
# The same for one text alone, whose threads have to join at every call.
CHUNK_ALONE = 64
SHOWN = 40  # characters of a text in its one-line form


@dataclass(frozen=True, slots=True)
class Sample:
    """One generated text.

    Attributes:
        text: What was generated after the prompt.
        chars: Its number of characters (bytes for a byte model).
        finish_reason: "length", or "stop" if a stop string came.
        nats_per_char: The mean of -log p of its characters under the model, at temperature 1 and without
            filters.
        prompt: What it continues.
        nats: -log p of each of its characters, likewise, `(chars,)`.
    """

    text: str
    chars: int
    finish_reason: FinishReason
    nats_per_char: float
    prompt: str = field(default="", compare=False)
    nats: Nats = field(default_factory=lambda: np.zeros(0), compare=False)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        start = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + "…"
        return f"<Sample {self.chars:,} characters, {self.nats_per_char / math.log(2):.2f} bits/char, {start!r}>"

    def as_dict(self) -> dict[str, Any]:
        """Return text, chars, finish_reason and nats_per_char by name, for JSON."""
        return {name: getattr(self, name) for name in ("text", "chars", "finish_reason", "nats_per_char")}

    def _repr_html_(self) -> str:
        return coloured(self.prompt, self.text, (self.nats / math.log(2)).tolist())


class StopFilter:
    """Ends a text before its first stop string. What may be the beginning of one is held back until more is known.

    Args:
        stops: The stop strings.

    Attributes:
        found: The stop string that ended the text, the longest of those that end at the same place; None until then.
        after: How many units of the last `append` come after it.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self.after = 0
        self._stops, self._held = stops, ""

    def append(self, units: str) -> str:
        """Add units; return those that have become certain."""
        if not self._stops:
            return units
        for used, unit in enumerate(units, 1):
            self._held += unit
            found = [stop for stop in self._stops if self._held.endswith(stop)]
            if found:
                self.found, self.after = max(found, key=len), len(units) - used
                return self._split(len(self.found))[0]
        certain, self._held = self._split(max(overlap(self._held, stop) for stop in self._stops))
        return certain

    def flush(self) -> str:
        """Return what is held back, at the end of a text without a stop string."""
        held, self._held = self._held, ""
        return held

    def _split(self, last: int) -> tuple[str, str]:
        """Return all but the last units that are held back, and these."""
        return self._held[: len(self._held) - last], self._held[len(self._held) - last :]


class Generation:
    """A text that is being generated, one `str` character for each unit; bytes of a byte model as Latin-1.

    Attributes:
        index: Its number.
        chars: How many units it has, without a stop string.
        finish_reason: Why it ended; None until then.
    """

    def __init__(self, generator: "Generator", index: int) -> None:
        self.index = index
        self.chars = 0
        self.finish_reason: FinishReason | None = None
        self._generator = generator
        self._nats: list[Nats] = []
        self._pieces: list[bytes] = []
        self._filter = StopFilter(generator.stops)

    @property
    def remaining(self) -> int:
        """How many more units it may have."""
        return self._generator.options.length - self.chars

    def append(self, units: str, nats: Nats) -> bytes:
        """Add units, at most up to the first that completes a stop string; return what became certain."""
        self.chars += len(units)
        self._nats.append(nats)
        certain = self._filter.append(units)
        if self._filter.found:
            self.finish_reason = "stop"
            self.chars -= len(self._filter.found)
        elif not self.remaining:
            self.finish_reason = "length"
            certain += self._filter.flush()
        # A model may know lone surrogates, which no encoding has.
        self._pieces.append(certain.encode(self._generator.encoding, "backslashreplace"))
        return self._pieces[-1]

    def encoded(self) -> bytes:
        """Return what is certain, in UTF-8; of a byte model, its bytes."""
        return b"".join(self._pieces)

    def sample(self, prompt: str = "") -> Sample:
        """Return the finished text, with the prompt that it continues."""
        nats = np.concatenate([*self._nats, np.zeros(0)])[: self.chars]
        mean, reason = float(nats.sum()) / max(self.chars, 1), self.finish_reason or "length"
        return Sample(self.encoded().decode(errors="replace"), self.chars, reason, mean, prompt, nats)


class Generator:
    """Generates texts with one engine and one set of options.

    Args:
        model: An engine, or what one can be made of.
        options: What to generate.

    Attributes:
        seed: Of all texts.
        stops: The stop strings that can occur, in units.
        encoding: Of the bytes that are returned: "utf-8", or "latin-1" for a byte model's own bytes.

    Raises:
        ConfigError: The engine has other weights, or another device, than the options ask for; or logit_bias has an
            id that the model does not have.
    """

    def __init__(self, model: "Engine | ModelSource | Sequence[ModelSource]", options: SampleOptions) -> None:
        if isinstance(model, Engine):
            for name in ("weights", "device"):
                asked, given = getattr(options, name), getattr(model, name)
                if asked not in (None, "auto", given):
                    raise ConfigError(f"the options ask for {name} {asked}, but the engine was made with {given}")
            self.engine = model
        else:
            self.engine = Engine(model, options.weights, options.device or "cpu")
        self.options = options
        self.seed = time.time_ns() % 2**31 if options.seed is None else options.seed
        vocabulary = self.engine.vocabulary
        for id_, _ in options.params.logit_bias:
            if id_ >= len(vocabulary):
                raise ConfigError(f"logit_bias has id {id_}, but the ids of this model are 0 to {len(vocabulary) - 1}")
        self.encoding = "latin-1" if vocabulary.units == "bytes" else "utf-8"
        self._alphabet = [chr(code) for code in vocabulary.codes]
        self.stops, self._stop_ids = known_stops(vocabulary, options.stop)

    def pieces(self, prompt: str, index: int) -> Iterator[bytes]:
        """Return text number `index` in pieces as they become certain, in UTF-8; of a byte model, its bytes.

        Raises:
            UnknownCharacterError: At once, before the first piece.
        """
        state = self._prefill(prompt)
        return (piece for _, piece in self._one(state, index) if piece)

    def generations(self, prompt: str, count: int) -> Iterator[Generation]:
        """Return texts 0 to `count` - 1 in order, each as soon as it and those before it are finished.

        Raises:
            ConfigError: The count is less than 1.
            UnknownCharacterError: At once.
        """
        count = as_integer("the count", count, "1 or more", 1)
        state = self._prefill(prompt)
        if count > 1:
            return self._in_threads(state, count)
        return (generation for generation, _ in self._one(state, 0) if generation.finish_reason)

    def _prefill(self, prompt: str) -> PromptState:
        ids = self.engine.vocabulary.encode(prompt, unknown=self.options.unknown, where="the prompt")
        return self.engine.backend.prefill(ids)

    def _begin(self, batch: Batch, state: PromptState, index: int) -> Generation:
        """Begin text number `index` in a batch."""
        batch.add(state, self.options.params, stream_key(self.seed, index), self._stop_ids)
        return Generation(self, index)

    def _extend(self, batch: Batch, generations: list[Generation], most: int) -> list[bytes]:
        """Generate up to `most` units of every text of a batch; return what became certain of each."""
        ids, nats = batch.generate(min(most, *(generation.remaining for generation in generations)))
        return [
            generation.append("".join([self._alphabet[i] for i in ids[:, stream].tolist()]), nats[:, stream])
            for stream, generation in enumerate(generations)
        ]

    def _one(self, state: PromptState, index: int) -> Iterator[tuple[Generation, bytes]]:
        """Generate one text with all cores, and yield it with every new piece."""
        (batch,) = self.engine.backend.batches(1)
        generation, size = self._begin(batch, state, index), 1
        while generation.finish_reason is None:
            yield generation, self._extend(batch, [generation], size)[0]
            # The first piece is one character, so that it comes at once.
            size = min(2 * size, CHUNK_ALONE)

    def _in_threads(self, state: PromptState, count: int) -> Iterator[Generation]:
        """Generate texts in one thread for each batch, and yield them in order."""
        batches = self.engine.backend.batches(count)
        waiting = iter(range(count))
        finished: SimpleQueue[Generation | BaseException] = SimpleQueue()
        cancelled = Event()

        def work(batch: Batch) -> None:
            try:
                for generation in self._run(batch, state, waiting, cancelled):
                    finished.put(generation)
            except BaseException as error:  # noqa: BLE001  raised again in the thread that takes the texts
                finished.put(error)

        with ThreadPoolExecutor(len(batches)) as pool:
            try:
                for batch in batches:
                    pool.submit(work, batch)
                early: dict[int, Generation] = {}
                for index in range(count):
                    while index not in early:
                        generation = finished.get()
                        if isinstance(generation, BaseException):
                            raise generation
                        early[generation.index] = generation
                    yield early.pop(index)
            finally:
                cancelled.set()

    def _run(self, batch: Batch, state: PromptState, waiting: Iterator[int], cancelled: Event) -> Iterator[Generation]:
        """Generate the waiting texts, as many at a time as the batch holds; yield each when it is finished."""
        running: list[Generation] = []
        while not cancelled.is_set():
            running += [self._begin(batch, state, index) for index in islice(waiting, batch.size - batch.count)]
            if not running:
                return
            self._extend(batch, running, CHUNK)
            for stream in reversed(range(len(running))):
                if running[stream].finish_reason:
                    yield running[stream]
                    batch.remove(stream)
                    running[stream] = running[-1]
                    running.pop()


def known_stops(vocabulary: Vocabulary, stops: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the stop strings that can occur, in units, and the last id of each.

    A stop string with a unit that the model does not know cannot occur.
    """
    codes = [vocabulary.codes_of(stop) for stop in stops]
    known = [stop for stop in codes if (vocabulary.find(stop) != UNKNOWN).all()]
    return ["".join(map(chr, stop)) for stop in known], [int(vocabulary.find(stop[-1:])[0]) for stop in known]


def stream_key(seed: int, index: int) -> int:
    """Return the 64-bit key of the random numbers of text number `index`."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])


def overlap(text: str, stop: str) -> int:
    """Return how many units at the end of a text are the beginning of a stop string, but not all of it."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
