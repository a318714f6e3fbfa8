"""The compiled backend for CPUs: packed networks, alone or as an ensemble, that run in numba code."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.architecture import WeightKind
from nextchar.kernels.barrier import new_barrier
from nextchar.kernels.ensemble import Member, run_ensemble
from nextchar.kernels.packing import StreamState, empty_streams, pack
from nextchar.kernels.sampler import Floats, Ids, SamplerState, new_sampler
from nextchar.kernels.steps import DRAW, StepBuffers, new_scratch, padded_streams, run_in_threads, select_inputs
from nextchar.kernels.threads import available_cores, parallel_for
from nextchar.sampling.options import SamplingParams
from nextchar.sampling.protocol import Batch, Nats, PromptState, batch_sizes
from nextchar.sampling.thread_tuner import ThreadTuner, thread_counts
from nextchar.storage import ModelFile

# Ids of one call when a text is read: between two calls Ctrl-C is handled and another number of threads is
# tried.
PIECE = 256
# Streams of one thread: with more, weights and states no longer fit its cache.
STREAMS = 32


class CompiledNetwork:
    """One packed network. The state of a stream is a `StreamState` of one row, and is never modified.

    Args:
        model: The network.
        weights: The kind of its packed weights.
        threads: How many threads share the steps of one stream; None to keep what is fastest. Results do not
            depend on it.

    Attributes:
        packed: The weights.
        vocabulary_size: V.
        tuner: Chooses the number of threads.
        empty: The empty state.
        start: The state after START, which predicts a text's first id.
    """

    def __init__(self, model: ModelFile, weights: WeightKind = "fp32", threads: int | None = None) -> None:
        self.packed = pack(model.architecture, model.arrays, len(model.vocabulary), weights)
        self.vocabulary_size = len(model.vocabulary)
        most = min(available_cores(), len(self.packed.first))
        self.tuner = ThreadTuner(thread_counts(most) if threads is None else [threads])
        self.empty: StreamState = empty_streams(self.packed, 1)
        self.start = self.read([self.vocabulary_size], self.empty)[1]

    def read(self, ids: npt.ArrayLike, state: StreamState | None = None) -> tuple[Nats, StreamState]:
        """Read ids `(T,)`, from START or a given state; return their nats `(T,)` and the last state."""
        given = np.asarray(ids, np.int64)
        after = StreamState(*(array.copy() for array in state or self.start))
        nats = np.zeros(len(given))
        sampler = new_sampler(1, self.vocabulary_size)
        for first in range(0, len(given), PIECE):
            piece = slice(first, first + PIECE)
            buffers = StepBuffers(given[piece, None].copy(), nats[piece, None])
            run = partial(run_in_threads, buffers=buffers, packed=self.packed, streams=after, sampler=sampler)
            self.tuner.timed(run, len(buffers.ids))
        return nats, after


class CompiledBatch:
    """Streams of one network, or of an ensemble, that generate side by side (`protocol.Batch`).

    Args:
        networks: One, or several whose mean probability draws; of one vocabulary, cells and sizes may differ.
        size: The most streams.
        threads: How many threads share a step while one stream is in use; None to keep what is fastest, and to
            divide several streams among all cores. 1 when other batches run at the same time. An ensemble uses one.
    """

    def __init__(self, networks: Sequence[CompiledNetwork], size: int, threads: int | None = None) -> None:
        self.size, self.count = size, 0
        self._network = networks[0]
        self._tuner = self._network.tuner if threads is None else ThreadTuner([threads])
        self._divides = threads is None
        # Padding adds at most one stream.
        rows, vocabulary_size = size + 1, self._network.vocabulary_size
        self.sampler: SamplerState = new_sampler(rows, vocabulary_size)
        self.states: PromptState = tuple(empty_streams(network.packed, rows) for network in networks)
        self._members = tuple(
            Member(network.packed, streams, new_scratch(network.packed, streams, vocabulary_size))
            for network, streams in zip(networks, self.states, strict=True)
            if len(networks) > 1
        )
        self._mean = np.zeros((rows, vocabulary_size), np.float32)
        self._scratch = new_scratch(networks[0].packed, self.states[0], vocabulary_size)

    def add(self, prompt: PromptState, params: SamplingParams, key: int, stop_ids: Sequence[int] = ()) -> None:
        """Begin a stream in the next free place."""
        stream, sampler = self.count, self.sampler
        for streams, state in zip(self.states, prompt, strict=True):
            for array, row in zip(streams, state, strict=True):
                array[stream] = row[0]
        sampler.temperature[stream], sampler.top_k[stream] = params.temperature, params.top_k
        sampler.top_p[stream], sampler.min_p[stream] = params.top_p, params.min_p
        sampler.keys[stream], sampler.drawn[stream] = key, 0
        sampler.stop_ids[stream] = False
        sampler.stop_ids[stream, list(stop_ids)] = True
        sampler.adjusted[stream] = params.adjusts_logits
        if params.adjusts_logits:
            sampler.repetition[stream], sampler.presence[stream] = params.repetition_penalty, params.presence_penalty
            sampler.frequency[stream] = params.frequency_penalty
            sampler.bias[stream], sampler.counts[stream] = 0, 0
            for id_, value in params.logit_bias:
                sampler.bias[stream, id_] = value
        self.count += 1

    def remove(self, stream: int) -> None:
        """End a stream; the last one in use moves to its place."""
        self.count -= 1
        for arrays in (*self.states, self.sampler):
            for array in arrays:
                array[stream] = array[self.count]

    def generate(self, length: int, logits: Floats | None = None) -> tuple[Ids, Nats]:
        """Let every stream in use draw up to `length` ids; return ids and their nats, each `(T, N)`."""
        ids = np.full((length, self.count), DRAW)
        nats = self.read(ids, logits)
        return ids[: len(nats)], nats

    def state(self, stream: int) -> PromptState:
        """Return a copy of the state of a stream, which another stream can begin with."""
        return tuple(StreamState(*(array[stream : stream + 1].copy() for array in each)) for each in self.states)

    def read(self, ids: Ids, logits: Floats | None = None) -> Nats:
        """Let every stream in use read the next ids, `(T, N)`, or draw those that are `DRAW`; return nats `(T, N)`.

        Args:
            ids: Drawn ids are put into it. If a stop id is drawn, what follows is not read.
            logits: As in `protocol.Batch.generate`.
        """
        buffers = StepBuffers(ids, np.zeros(ids.shape), *(() if logits is None else (logits,)))
        if self._members:
            alone = new_barrier(1, self.count)
            return buffers.nats[: int(run_ensemble(buffers, self._members, self._mean, self.sampler, alone))]
        if self.count > 1 and self._divides and not self.sampler.stop_ids[: self.count].any():
            # Parts of an even number of streams are not padded, so no part computes with the streams of the next.
            parallel_for(partial(self._read_part, buffers), self.count, 2)
            return buffers.nats

        def run(threads: int) -> int:
            return run_in_threads(threads, buffers, self._network.packed, self.states[0], self.sampler)

        return buffers.nats[: self._tuner.timed(run, len(ids)) if self.count == 1 else run(1)]

    def draw(self, logits: Floats) -> tuple[Ids, Nats]:
        """Let every stream in use draw from given logits, `(N, V)`, and read nothing; return ids and their nats, each `(N,)`."""
        self.states[0].logits[: self.count, : self._network.vocabulary_size] = logits
        ids, nats = np.full((1, self.count), DRAW), np.zeros((1, self.count))
        inputs = np.zeros(self.count, np.int64)
        select_inputs(0, StepBuffers(ids, nats), self.states[0], self.sampler, self._scratch, inputs)
        return inputs, nats[0]

    def _read_part(self, buffers: StepBuffers, first: int, last: int) -> None:
        """Read with the streams from `first` to before `last`; their rows are copied where the compiled step needs it."""
        own: list[npt.NDArray[Any]] = [np.ascontiguousarray(array[:, first:last]) for array in buffers]
        rows = slice(first, first + padded_streams(last - first))
        streams = StreamState(*(array[rows] for array in self.states[0]))
        sampler = SamplerState(*(array[rows] for array in list[Any](self.sampler)))
        run_in_threads(1, StepBuffers(*own), self._network.packed, streams, sampler)
        for array, copied in zip(list[Any](buffers), own, strict=True):
            array[:, first:last] = copied


class CompiledBackend:
    """Packed networks on the CPU (`protocol.Backend`).

    Args:
        networks: One, or an ensemble of one vocabulary.
    """

    def __init__(self, networks: Sequence[CompiledNetwork]) -> None:
        self.networks = networks

    def prefill(self, prompt: npt.ArrayLike) -> PromptState:
        """Return the states after START and the ids of a prompt `(T,)`."""
        return tuple(network.read(prompt)[1] for network in self.networks)

    def batches(self, count: int) -> list[Batch]:
        """Return one batch that uses all cores for one text, and a batch for each core for several."""
        if count == 1:
            return [CompiledBatch(self.networks, 1)]
        sizes = batch_sizes(count, available_cores(), STREAMS)
        return [CompiledBatch(self.networks, size, threads=1) for size in sizes]
