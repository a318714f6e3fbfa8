"""The scheduler: one thread steps the texts of all requests of a model together (continuous batching).

A request is one prompt and a number of texts that continue it. Requests join and leave between two rounds. A round reads
a slice of every prompt that is being read, and then lets every text draw a few characters. A text is the one that
`nextchar.sample` gives for the same model, prompt, options and number, to the bit, whatever else runs.

`step` does one round and knows no threads; `run` calls it until `shut_down`.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from nextchar.errors import NextcharError
from nextchar.sampling.compiled import CompiledBackend, CompiledBatch
from nextchar.sampling.engine import Engine
from nextchar.sampling.generation import stream_key
from nextchar.sampling.options import SamplingParams
from nextchar.sampling.protocol import PromptState
from nextchar.serving.prefixes import BLOCK, PrefixCache
from nextchar.serving.texts import Floats, Job, Piece, PromptRead, Reason, Request, Text, scored

PROMPTS = 16  # prompts that are read side by side
MOST_STEPS = 64  # characters of a call
LOGITS = 1 << 22  # that are kept in a call
ROUND_SECONDS = 0.015  # for reading, and again for drawing

_log = logging.getLogger(__name__)


class QueueFullError(NextcharError):
    """Too many texts wait."""


class ShuttingDownError(NextcharError):
    """The scheduler takes no more requests."""


class _Pace:
    """Chooses how many steps a call has, so that it takes about `ROUND_SECONDS`."""

    def __init__(self) -> None:
        self.steps = 1

    def record(self, steps: int, seconds: float) -> None:
        """Adapt to a call of so many steps that took so long; no more than doubling."""
        fitting = int(ROUND_SECONDS * steps / max(seconds, 1e-9))
        self.steps = max(1, min(fitting, 2 * self.steps, MOST_STEPS))


class Scheduler:
    """Steps all requests of one model.

    Args:
        engine: The model, on the CPU.
        streams: The most texts that are drawn at the same time.
        queue: The most texts that wait.
        cache_bytes: Memory for the states of prompts.
        clock: Returns the time in seconds.

    Attributes:
        counts: How many characters of prompts were read ("prompt") or found in the cache ("cached"), how many were drawn
            ("drawn"), and how many texts ended for each reason.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        streams: int = 64,
        queue: int = 256,
        cache_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert isinstance(engine.backend, CompiledBackend)
        self.vocabulary = engine.vocabulary
        self._alphabet = [chr(code) for code in self.vocabulary.codes]
        self.counts: Counter[str] = Counter()
        networks = engine.backend.networks
        self._start: PromptState = tuple(network.start for network in networks)
        self._prompts = CompiledBatch(networks, min(PROMPTS, streams))
        self._texts = CompiledBatch(networks, streams)
        self._reading: list[Job] = []
        self._ready: deque[Text] = deque()
        self._running: list[Text] = []
        self._prompt_pace, self._text_pace = _Pace(), _Pace()
        self._prefixes = PrefixCache(cache_bytes)
        self._clock, self._limit = clock, streams + queue
        # What follows is shared between threads.
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._jobs: dict[Job, None] = {}
        self._unfinished = 0
        self._closing: float | None = None

    @property
    def running(self) -> int:
        """How many texts are drawn."""
        return len(self._running)

    @property
    def unfinished(self) -> int:
        """How many texts are drawn or wait."""
        return self._unfinished

    def submit(self, request: Request, listener: "Callable[[PromptRead | Piece], object]") -> Job:
        """Add a request, from any thread.

        Args:
            request: Its ids are in the vocabulary.
            listener: Called in the scheduler's thread with `PromptRead`, then with the pieces of every text.

        Raises:
            QueueFullError: At once.
            ShuttingDownError: At once.
        """
        job = Job(request, listener)
        with self._changed:
            if self._closing is not None:
                raise ShuttingDownError("the server is shutting down")
            if self._unfinished + request.count > self._limit:
                raise QueueFullError(f"{self._unfinished} texts are drawn or wait, and the limit is {self._limit}")
            self._unfinished += request.count
            self._waiting.append(job)
            self._jobs[job] = None
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """End a request whose client has left; its listener is called no more after the present round."""
        job.cancelled = True
        with self._changed:
            self._changed.notify()

    def shut_down(self, seconds: float) -> None:
        """Take no more requests; those that still run after so many seconds end with the reason "shutdown"."""
        with self._changed:
            self._closing = self._clock() + seconds
            self._changed.notify()

    def run(self) -> None:
        """Step until `shut_down` and the end of all requests."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unfinished or self._closing is not None)
                if not self._unfinished:
                    return
            try:
                self.step()
            except Exception:  # noqa: BLE001  the next requests are served
                _log.exception("a round failed")
                self._reading, self._running = [], []
                self._prompts.count = self._texts.count = 0
                self._end([*self._jobs], "error")

    def step(self) -> bool:
        """Do one round; return whether requests are left."""
        with self._changed:
            late = self._closing is not None and self._clock() >= self._closing
            jobs = [*self._jobs]
        self._end([job for job in jobs if late or job.cancelled], "shutdown")
        self._admit()
        if self._reading:
            self._read()
        self._begin()
        if self._running:
            self._draw()
        return self._unfinished > 0

    def _end(self, ended: list[Job], reason: Reason) -> None:
        """Remove requests from wherever they are, and tell those that were not cancelled the reason."""
        if not ended:
            return
        with self._changed:
            self._waiting = deque(job for job in self._waiting if job not in ended)
        self._ready = deque(text for text in self._ready if text.job not in ended)
        for stream in reversed(range(len(self._reading))):
            if self._reading[stream] in ended:
                _remove(self._prompts, self._reading, stream)
        for stream in reversed(range(len(self._running))):
            if self._running[stream].job in ended:
                _remove(self._texts, self._running, stream)
        for job in ended:
            for index in [*job.unfinished]:
                if not job.cancelled:
                    job.listener(Piece(index, "", [], reason))
                self._finish(job, index, "cancelled" if job.cancelled else reason)

    def _finish(self, job: Job, index: int, reason: str) -> None:
        job.unfinished.discard(index)
        self.counts[reason] += 1
        with self._changed:
            self._unfinished -= 1
            if not job.unfinished:
                del self._jobs[job]

    def _admit(self) -> None:
        """Begin to read prompts, as long as there is a place for them and for their texts."""
        while len(self._reading) < self._prompts.size and len(self._ready) + len(self._running) < self._texts.size:
            with self._changed:
                if not self._waiting:
                    return
                job = self._waiting.popleft()
            ids, state = job.request.ids, None
            if not job.request.score_prompt:
                job.cached, state = self._prefixes.longest(ids)
            job.position = job.cached
            if job.position == len(ids):
                self._prompt_read(job, state or self._start)
            else:
                self._prompts.add(state or self._start, SamplingParams(), 0)
                self._reading.append(job)

    def _read(self) -> None:
        """Read a slice of every prompt."""
        # A call ends at the end of a prompt or of a block, where the state is kept.
        ends = [min(len(job.request.ids) - job.position, BLOCK - job.position % BLOCK) for job in self._reading]
        steps = self._steps(self._prompt_pace, ends, [job.request.score_prompt for job in self._reading])
        ids = np.stack([job.request.ids[job.position : job.position + steps] for job in self._reading], axis=1)
        logits = self._logits(steps, [job.request.score_prompt for job in self._reading])
        begun = self._clock()
        self._prompts.read(ids, logits)
        self._prompt_pace.record(steps, self._clock() - begun)
        self.counts["prompt"] += ids.size
        for stream in reversed(range(len(self._reading))):
            job, whole = self._reading[stream], self._reading[stream].request.ids
            if logits is not None and job.request.score_prompt:
                job.tokens += scored(ids[:, stream], logits[:, stream], job.request.alternatives or 0)
            job.position += steps
            if job.position == len(whole) or job.position % BLOCK == 0:
                state = self._prompts.state(stream)
                self._prefixes.put(whole[: job.position], state)
                if job.position == len(whole):
                    _remove(self._prompts, self._reading, stream)
                    self._prompt_read(job, state)

    def _prompt_read(self, job: Job, state: PromptState) -> None:
        self.counts["cached"] += job.cached
        job.state = state
        job.listener(PromptRead(job.cached, job.tokens))
        for index in range(job.request.count):
            if job.request.options.length:
                self._ready.append(Text(job, index, self.vocabulary, self._alphabet))
            else:
                job.listener(Piece(index, "", [], "length"))
                self._finish(job, index, "length")

    def _begin(self) -> None:
        """Let texts whose prompt was read begin, as long as there is a place."""
        while self._ready and self._texts.count < self._texts.size:
            text = self._ready.popleft()
            options, state = text.job.request.options, text.job.state
            assert state
            assert options.seed is not None
            self._texts.add(state, options.params, stream_key(options.seed, text.index))
            self._running.append(text)
            if text.job.request.seconds is not None and text.job.deadline is None:
                text.job.deadline = self._clock() + text.job.request.seconds

    def _draw(self) -> None:
        """Let every text draw a few characters."""
        asked = [text.job.request.alternatives for text in self._running]
        wanted = [number is not None for number in asked]
        steps = self._steps(self._text_pace, [text.remaining for text in self._running], wanted)
        logits = self._logits(steps, wanted)
        begun = self._clock()
        ids, nats = self._texts.generate(steps, logits)
        now = self._clock()
        self._text_pace.record(steps, now - begun)
        self.counts["drawn"] += ids.size
        for stream in reversed(range(len(self._running))):
            text, number, drawn = self._running[stream], asked[stream], ids[:, stream]
            tokens = scored(drawn, logits[:, stream], number) if logits is not None and number is not None else []
            if text.append(drawn.tolist(), nats[:, stream].tolist(), tokens, now, len(asked)):
                if text.reason == "length":  # the next request may continue this text
                    whole = np.concatenate([text.job.request.ids, np.array(text.ids, np.int64)])
                    self._prefixes.put(whole, self._texts.state(stream))
                _remove(self._texts, self._running, stream)
                self._finish(text.job, text.index, text.reason or "length")

    def _steps(self, pace: _Pace, ends: list[int], asked: list[bool]) -> int:
        """Return how many steps the next call of some streams has: none goes beyond its end."""
        fitting = LOGITS // (len(asked) * len(self.vocabulary)) if any(asked) else MOST_STEPS
        return min(pace.steps, max(1, fitting), *ends)

    def _logits(self, steps: int, asked: list[bool]) -> Floats | None:
        """Return memory for the logits of a call, if any stream asks for them."""
        return np.empty((steps, len(asked), len(self.vocabulary)), np.float32) if any(asked) else None


def _remove(batch: CompiledBatch, owners: list[Any], stream: int) -> None:
    """End a stream; the last one in use moves to its place, and its owner too."""
    batch.remove(stream)
    last = owners.pop()
    if stream < len(owners):
        owners[stream] = last
