"""Text from a model: streamed as it is written, or whole, with why it ended and how surprised the model was."""

import codecs
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nextchar.errors import ConfigError
from nextchar.kernels.packing import StreamState, WeightKind
from nextchar.kernels.threads import available_cores
from nextchar.sampling.engine import Engine, Filters, Group, Nats
from nextchar.sampling.ensemble import EnsembleEngine
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import UNKNOWN, Unknown, Vocabulary, common_vocabulary

if TYPE_CHECKING:
    from nextchar.language_model import LanguageModel

    AnyModel = ModelFile | LanguageModel

FinishReason = Literal["length", "stop"]

# Texts that one thread writes side by side: with more, weights and states no longer fit its cache.
LANES = 32
# And on a GPU, which is not busy with fewer.
DEVICE_LANES = 256
# Characters of one call: the pause between two is heard neither by a reader nor by an interrupt.
CHUNK = 32
# The same for one text alone, for which every call brings its helpers together.
CHUNK_ALONE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """What to write.

    Attributes:
        length: Characters (bytes for a byte model) at the most.
        filters: How each is chosen.
        stop: The text ends before the first of these strings; they are not part of it.
        seed: The same seed and kind of weights give the same text.
        unknown: What to do with characters of the prompt that the model has never seen.
        weights: How the weights are kept while writing: fp32 as they are; bf16 in half the memory; int8 in a quarter.
        device: "cpu", without torch; or a device of torch's, in fp32.
    """

    length: int = 500
    filters: Filters = field(default_factory=Filters)
    stop: tuple[str, ...] = ()
    seed: int = 0
    unknown: Unknown = "error"
    weights: WeightKind = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.length < 0:
            raise ConfigError(f"the length is {self.length}, but must be 0 or more")
        if self.seed < 0:
            raise ConfigError(f"the seed is {self.seed}, but must be 0 or more")
        if self.device != "cpu" and self.weights != "fp32":
            raise ConfigError(f"the weights are {self.weights}, but on {self.device} they are fp32")
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
    model: "AnyModel | Sequence[AnyModel]",
    prompt: str = "",
    options: SampleOptions | None = None,
    *,
    count: int = 1,
) -> list[Sample]:
    """Write `count` texts; text k draws from a random stream of its own, so it is the same in any company.

    Several models of one vocabulary write one text together: the mean of their probabilities chooses.
    """
    writer = Writer(model, options or SampleOptions())
    return [text.sample() for text in writer.texts(prompt, count)]


def stream(
    model: "AnyModel | Sequence[AnyModel]", prompt: str = "", options: SampleOptions | None = None
) -> Iterator[str]:
    """Yield a text piece by piece, as it is written; with several models, by the mean of their probabilities."""
    writer = Writer(model, options or SampleOptions())
    # The edge of a piece, and the end of the text, may cut a character of a byte model.
    return codecs.iterdecode(writer.pieces(prompt, 0), "utf-8", errors="replace")


class Text:
    """A text that is being written, in units: one character of a `str` for each of the model's, bytes as Latin-1.

    Attributes:
        index: Which one it is.
        chars: How many units it has, a stop left out.
        finish_reason: Why it ended; None while it has not.
    """

    def __init__(self, writer: "Writer", index: int) -> None:
        self.index = index
        self.chars = 0
        self.finish_reason: FinishReason | None = None
        self._writer = writer
        self._nats: list[Nats] = []
        self._pieces: list[bytes] = []
        self._held = ""

    @property
    def left(self) -> int:
        """How many more units may come."""
        return self._writer.options.length - self.chars

    def add(self, units: str, nats: Nats) -> bytes:
        """Go on, at most to the first unit that a stop ends with; return what became certain.

        What could be the beginning of a stop is held back until it is known not to be one.
        """
        self.chars += len(units)
        self._nats.append(nats)
        self._held += units
        found = [len(stop) for stop in self._writer.stops if self._held.endswith(stop)]
        keep = 0
        if found:
            self.finish_reason = "stop"
            self.chars -= max(found)
            self._held = self._held[: -max(found)]
        elif not self.left:
            self.finish_reason = "length"
        else:
            keep = max((overlap(self._held, stop) for stop in self._writer.stops), default=0)
        certain = self._held[: len(self._held) - keep].encode(self._writer.encoding)
        self._held = self._held[len(self._held) - keep :]
        self._pieces.append(certain)
        return certain

    def encoded(self) -> bytes:
        """Return what is certain of it in UTF-8, or as the bytes of a byte model."""
        return b"".join(self._pieces)

    def sample(self) -> Sample:
        """Return it, ended."""
        nats = float(np.concatenate([*self._nats, np.zeros(0)])[: self.chars].sum())
        reason = self.finish_reason or "length"
        return Sample(self.encoded().decode(errors="replace"), self.chars, reason, nats / max(self.chars, 1))


class Writer:
    """Writes texts with one model, or with several of one vocabulary, and one set of options."""

    def __init__(self, model: "AnyModel | Sequence[AnyModel]", options: SampleOptions) -> None:
        models = model if isinstance(model, Sequence) else [model]
        files = [each if isinstance(each, ModelFile) else to_file(each) for each in models]
        self.vocabulary: Vocabulary = common_vocabulary([file.vocabulary for file in files])
        self.options = options
        self._engine: Any
        if options.device == "cpu":
            several = len(files) > 1
            self._engine = (
                EnsembleEngine(files, options.weights) if several else Engine(files[0], options.weights)
            )
            self._threads, self._lanes = available_cores(), LANES
        elif len(files) > 1:
            raise ConfigError(
                f"{len(files)} models were given, but on {options.device} one model writes; take --device cpu"
            )
        else:
            from nextchar.device import pick_device  # noqa: PLC0415  only a device of torch's needs torch
            from nextchar.sampling.cuda_graph import DeviceEngine  # noqa: PLC0415  as above

            self._engine = DeviceEngine(files[0], pick_device(options.device))
            self._threads, self._lanes = 1, DEVICE_LANES
        self._alphabet = [chr(code) for code in self.vocabulary.codes]
        self.encoding = "latin-1" if self.vocabulary.units == "bytes" else "utf-8"
        codes = [self.vocabulary.codes_of(stop) for stop in options.stop]
        # A stop with a unit that the model does not know can never come.
        known = [stop for stop in codes if (self.vocabulary.find(stop) != UNKNOWN).all()]
        self.stops = ["".join(map(chr, stop)) for stop in known]
        self._ends = [int(self.vocabulary.find(stop[-1:])[0]) for stop in known]

    def whole(self, prompt: str, index: int) -> Sample:
        """Write text number `index`."""
        return [text for text, _ in self._one(self._begin(prompt), index)][-1].sample()

    def pieces(self, prompt: str, index: int) -> Iterator[bytes]:
        """Return text number `index` in UTF-8 (or as the bytes of a byte model), piece by piece, as it becomes certain.

        Raises:
            UnknownCharacterError: At once, before the first piece.
        """
        state = self._begin(prompt)
        return (piece for _, piece in self._one(state, index) if piece)

    def texts(self, prompt: str, count: int) -> Iterator[Text]:
        """Return the texts from number 0 on, in this order, each when it and those before it have ended.

        Raises:
            UnknownCharacterError: At once.
        """
        return self._several(self._begin(prompt), count)

    def _begin(self, prompt: str) -> StreamState:
        """Read a prompt; all texts go on from there."""
        state: StreamState = self._engine.begin(
            self.vocabulary.encode(prompt, unknown=self.options.unknown, where="the prompt")
        )
        return state

    def _group(self, size: int, team: int | None = None) -> Group:
        group: Group = self._engine.group(size, self.options.filters, self._ends, team)
        return group

    def _write(self, group: Group, texts: list[Text], most: int) -> list[bytes]:
        """Let texts go on, one a lane; return what became certain of each."""
        ids, nats = group.write(min(most, *(text.left for text in texts)))
        return [
            text.add("".join([self._alphabet[i] for i in ids[:, lane].tolist()]), nats[:, lane])
            for lane, text in enumerate(texts)
        ]

    def _one(self, state: StreamState, index: int) -> Iterator[tuple[Text, bytes]]:
        text, group, size = Text(self, index), self._group(1), 1
        group.add(state, key(self.options.seed, index))
        while text.finish_reason is None:
            yield text, self._write(group, [text], size)[0]
            # The first character comes at once.
            size = min(2 * size, CHUNK_ALONE)

    def _several(self, state: StreamState, count: int) -> Iterator[Text]:
        """Write texts in threads, each of which takes the next one waiting; which one does has no say in the text."""
        if count == 1:
            yield [text for text, _ in self._one(state, 0)][-1]
            return
        threads = max(1, min(count, self._threads))
        rounds = -(-count // (threads * self._lanes))
        lanes = -(-count // max(1, threads * rounds))
        waiting = iter(range(count))
        ended: SimpleQueue[Text | BaseException] = SimpleQueue()
        stopped = Event()

        def work() -> None:
            try:
                for text in self._side_by_side(state, waiting, lanes, stopped):
                    ended.put(text)
            except BaseException as error:  # noqa: BLE001  it is raised again where the texts are taken
                ended.put(error)

        with ThreadPoolExecutor(threads) as pool:
            try:
                for _ in range(threads):
                    pool.submit(work)
                early: dict[int, Text] = {}
                for index in range(count):
                    while index not in early:
                        text = ended.get()
                        if isinstance(text, BaseException):
                            raise text
                        early[text.index] = text
                    yield early.pop(index)
            finally:
                stopped.set()

    def _side_by_side(
        self, state: StreamState, waiting: Iterator[int], lanes: int, stopped: Event
    ) -> Iterator[Text]:
        """Write the texts waiting, so many at a time, and yield each when it has ended."""
        group = self._group(lanes, team=1)
        texts: list[Text] = []
        while not stopped.is_set():
            for index in islice(waiting, lanes - len(texts)):
                texts.append(Text(self, index))
                group.add(state, key(self.options.seed, index))
            if not texts:
                return
            self._write(group, texts, CHUNK)
            for lane in reversed(range(len(texts))):
                if texts[lane].finish_reason:
                    yield texts[lane]
                    group.drop(lane)
                    texts[lane] = texts[-1]
                    texts.pop()


def key(seed: int, index: int) -> int:
    """Return the key of a text's random stream."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0])


def overlap(text: str, stop: str) -> int:
    """Return how many units at the end of a text are the beginning of a stop."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
