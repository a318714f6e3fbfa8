"""What the scheduler takes and sends: requests, and texts that become certain piece by piece."""

import codecs
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.sampling.generation import StopFilter, known_stops
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.protocol import PromptState
from nextchar.text.vocabulary import Vocabulary

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Reason = Literal["stop", "length", "shutdown", "error"]
INTERVAL = 0.03  # seconds between two pieces of a text, but for the first and the last; and for each text beside it
INTERVAL_EACH = 0.0015  # this much more, because to send a piece takes longer than to draw a few characters


class Token(NamedTuple):
    """A character with its probability under the model, at temperature 1 and without filters.

    Attributes:
        id: Of the character.
        logprob: Its ln p.
        top: ln p of the most likely ids, the most likely first.
    """

    id: int
    logprob: float
    top: dict[int, float]


@dataclass(frozen=True, slots=True)
class PromptRead:
    """A prompt was read.

    Attributes:
        cached: How many of its characters were not read, because the state after them was kept.
        tokens: Its characters, if the request asks for them.
    """

    cached: int
    tokens: list[Token]


@dataclass(frozen=True, slots=True)
class Piece:
    """The next characters of a text.

    Attributes:
        index: The number of the text.
        text: The characters. If a character of a byte model is not complete, it is held back.
        tokens: The same as tokens, if the request asks for them.
        finish_reason: None for all but the last piece.
        chars: Of the whole text (bytes for a byte model), in the last piece.
        nats: The sum of -ln p of these.
        stop: The stop string that ended the text.
    """

    index: int
    text: str
    tokens: list[Token] = field(default_factory=list)
    finish_reason: Reason | None = None
    chars: int = 0
    nats: float = 0.0
    stop: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for.

    Attributes:
        ids: The prompt, without START.
        options: Of every text, with a seed.
        count: The number of texts; text k is text k of `nextchar.sample`.
        alternatives: How many of the most likely ids to report with each character; None for no probabilities.
        score_prompt: Whether to report the tokens of the prompt, too.
        seconds: How long texts may be drawn; None for as long as they are.
    """

    ids: Ids
    options: SampleOptions
    count: int = 1
    alternatives: int | None = None
    score_prompt: bool = False
    seconds: float | None = None


class Job:
    """A request in the scheduler. Its listener is called in the scheduler's thread and must return at once."""

    def __init__(self, request: Request, listener: "Callable[[PromptRead | Piece], object]") -> None:
        self.request, self.listener = request, listener
        self.cancelled = False
        self.unfinished = set(range(request.count))
        self.state: PromptState | None = None
        self.position = self.cached = 0
        self.tokens: list[Token] = []
        self.deadline: float | None = None


class Text:
    """A text that is drawn: from ids to pieces."""

    def __init__(self, job: Job, index: int, vocabulary: Vocabulary, alphabet: list[str]) -> None:
        self.job, self.index = job, index
        self.ids: list[int] = []
        self.reason: Reason | None = None
        self._alphabet, self._encoding = alphabet, "latin-1" if vocabulary.units == "bytes" else "utf-8"
        self._filter = StopFilter(known_stops(vocabulary, job.request.options.stop)[0])
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._tokens: list[Token] = []
        self._nats: list[float] = []
        self._due, self._sent = "", -math.inf

    @property
    def remaining(self) -> int:
        """How many more ids it may draw."""
        return self.job.request.options.length - len(self.ids)

    def append(self, ids: list[int], nats: list[float], tokens: list[Token], now: float, running: int) -> bool:
        """Add what was drawn at a time, beside how many texts; send what is due, and return whether the text has ended."""
        self.ids += ids
        self._nats += nats
        self._tokens += tokens
        certain = self._filter.append("".join([self._alphabet[id_] for id_ in ids]))
        chars = len(self.ids)
        if self._filter.found:
            self.reason, chars = "stop", chars - self._filter.after - len(self._filter.found)
        elif not self.remaining or (self.job.deadline is not None and now >= self.job.deadline):
            self.reason = "length"
            certain += self._filter.flush()
        self._send(certain, chars, now, INTERVAL + INTERVAL_EACH * running)
        return self.reason is not None

    def _send(self, units: str, chars: int, now: float, interval: float) -> None:
        """Add units to the next piece, and send it if it is due; with tokens, each in a piece of its own."""
        if self.job.request.alternatives is not None:
            tokens, self._tokens = self._tokens[: len(units)], self._tokens[len(units) :]
            for unit, token in zip(units, tokens, strict=True):
                self.job.listener(Piece(self.index, self._decoded(unit), [token]))
        else:
            self._due += self._decoded(units)
        if self.reason:
            text = self._due + self._decoder.decode(b"", final=True)
            nats = float(np.sum(self._nats[:chars]))
            self.job.listener(Piece(self.index, text, [], self.reason, chars, nats, self._filter.found or ""))
        elif self._due and now - self._sent >= interval:
            self.job.listener(Piece(self.index, self._due))
            self._due, self._sent = "", now

    def _decoded(self, units: str) -> str:
        return self._decoder.decode(units.encode(self._encoding, "backslashreplace"))


def scored(ids: Ids, logits: Floats, alternatives: int) -> list[Token]:
    """Return ids `(T,)` as tokens, from the logits `(T, V)` before each."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    logprobs = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
    order = np.argsort(-logprobs, axis=1, kind="stable")[:, :alternatives]
    tops = np.take_along_axis(logprobs, order, axis=1).tolist()
    own = logprobs[np.arange(len(ids)), ids].tolist()
    pairs = zip(order.tolist(), tops, strict=True)
    return [
        Token(id_, logprob, dict(zip(*top, strict=True)))
        for id_, logprob, top in zip(ids.tolist(), own, pairs, strict=True)
    ]
