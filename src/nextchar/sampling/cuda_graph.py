"""The backend for GPUs: one step of all streams, captured once as a CUDA graph and replayed for every id.

On a CPU it runs the same step without a graph, slowly, for tests. Off the CPU everything is float32.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.kernels.packing import StreamState
from nextchar.kernels.sampler import Floats, Ids, uniform
from nextchar.model.network import Network
from nextchar.model.sampler import Adjustment, SamplerTensors, adjusted_logits, draw, sampling_weights
from nextchar.model.state import State, map_state
from nextchar.sampling.options import SamplingParams
from nextchar.sampling.protocol import Batch, Nats, PromptState, batch_sizes
from nextchar.storage import ModelFile, to_language_model

LENGTH = 64  # the most ids of one call
STREAMS = 256  # the most streams of a batch
PIECE = 4096  # ids of a prompt that are read at a time


class CudaGraphBackend:
    """A network on a torch device (`protocol.Backend`).

    Args:
        model: The network.
        device: Where it generates.
    """

    def __init__(self, model: ModelFile, device: torch.device) -> None:
        self.network: Network = to_language_model(model, device).network
        self.device = device
        self.vocabulary_size = len(model.vocabulary)
        # float64 exists on the CPU only.
        self.dtype = torch.float64 if device.type == "cpu" else torch.float32

    def prefill(self, prompt: npt.ArrayLike) -> PromptState:
        """Return the state after START and the ids of a prompt `(T,)`."""
        ids = np.concatenate([[self.vocabulary_size], np.asarray(prompt, np.int64)])
        with torch.no_grad(), self.network.threads():
            state, logits = self.network.empty_state(1), torch.empty(0)
            for piece in torch.split(torch.from_numpy(ids).to(self.device), PIECE):
                logits, state = self.network(piece[:, None], state)
        # The first vector of a layer's state is its hidden, the second, if any, its cell.
        vectors = [torch.stack(layers, dim=1).cpu().numpy() for layers in zip(*state, strict=True)]
        return (StreamState(vectors[0], vectors[-1], logits[-1].float().cpu().numpy()),)

    def batches(self, count: int) -> list[Batch]:
        """Return one batch."""
        return [CudaGraphBatch(self, *batch_sizes(count, 1, STREAMS))]


class CudaGraphBatch:
    """Streams that generate side by side (`protocol.Batch`).

    Args:
        backend: The network.
        size: The most streams.
    """

    def __init__(self, backend: CudaGraphBackend, size: int) -> None:
        self.size, self.count = size, 0
        self._backend = backend
        device, dtype = backend.device, backend.dtype
        # A graph reads and writes the same memory at every replay.
        self._state = map_state(torch.clone, backend.network.empty_state(size))
        self._logits = torch.zeros(size, backend.vocabulary_size, device=device)
        self._updated = [*_vectors(self._state), self._logits]
        ones = torch.ones(size, 1, dtype=dtype, device=device)
        self._params = SamplerTensors(ones.clone(), torch.zeros_like(ones, dtype=torch.int64), ones, ones * 0)
        self._adjustment = Adjustment(ones.clone(), ones * 0, ones * 0, self._logits.to(dtype, copy=True))
        self._counts = torch.zeros_like(self._adjustment.bias)
        self._numbers = torch.zeros(LENGTH, size, dtype=dtype, device=device)
        self._ids = torch.zeros(LENGTH, size, dtype=torch.int64, device=device)
        self._nats = torch.zeros(LENGTH, size, dtype=dtype, device=device)
        self._step_index = torch.zeros(1, dtype=torch.int64, device=device)
        self._keys = np.zeros(size, np.uint64)
        self._drawn = np.zeros(size, np.int64)
        self._has_stops = np.zeros(size, np.bool_)
        self._adjusted = np.zeros(size, np.bool_)
        # Graphs of steps without and with penalties: most texts have none, and need not compute them.
        self._replays: dict[bool, Callable[[], None]] = {}

    def add(self, prompt: PromptState, params: SamplingParams, key: int, stop_ids: Sequence[int] = ()) -> None:
        """Begin a stream in the next free place."""
        stream, ((hidden, cell, logits),) = self.count, prompt
        for source, target in zip((hidden, cell), zip(*self._state, strict=True), strict=False):
            for layer, vector in enumerate(target):
                vector[stream] = torch.from_numpy(source[0, layer])
        self._logits[stream] = torch.from_numpy(logits[0])
        for name in SamplerTensors._fields:
            getattr(self._params, name)[stream] = getattr(params, name)
        self._keys[stream], self._drawn[stream], self._has_stops[stream] = key, 0, len(stop_ids) > 0
        self._adjusted[stream] = params.adjusts_logits
        for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
            getattr(self._adjustment, name)[stream] = getattr(params, name)
        self._adjustment.bias[stream], self._counts[stream] = 0, 0
        for id_, value in params.logit_bias:
            self._adjustment.bias[stream, id_] = value
        self.count += 1

    def remove(self, stream: int) -> None:
        """End a stream; the last one in use moves to its place."""
        self.count -= 1
        for tensor in (*self._updated, *self._params, *self._adjustment, self._counts):
            tensor[stream] = tensor[self.count].clone()
        for array in (self._keys, self._drawn, self._has_stops, self._adjusted):
            array[stream] = array[self.count]

    def generate(self, length: int, logits: Floats | None = None) -> tuple[Ids, Nats]:
        """Let every stream in use draw up to `length` ids; return ids and their nats, each `(T, N)`."""
        # A graph cannot stop early, so with stop ids in use it is replayed for one id at a time.
        length = min(length, 1 if self._has_stops[: self.count].any() else LENGTH)
        numbers = np.zeros((length, self._numbers.shape[1]))
        for stream in range(self.count):
            for step in range(length):
                numbers[step, stream] = uniform(self._keys[stream], self._drawn[stream] + step)
        self._drawn[: self.count] += length
        self._numbers[:length] = torch.from_numpy(numbers).to(self._numbers.dtype)
        with torch.no_grad(), self._backend.network.threads():
            adjusted = bool(self._adjusted[: self.count].any())
            replay = self._replays[adjusted] = self._replays.get(adjusted) or self._capture(adjusted)
            self._step_index.zero_()
            for step in range(length):
                if logits is not None:
                    logits[step] = self._logits[: self.count].cpu().numpy()
                replay()
        ids, nats = (each[:length, : self.count].cpu() for each in (self._ids, self._nats))
        return ids.numpy(), nats.double().numpy()

    def _capture(self, adjusted: bool) -> Callable[[], None]:
        """Return one step: on a GPU as a graph, captured after warm-up steps whose effects are undone."""
        if self._backend.device.type != "cuda":
            return partial(self._step, adjusted)
        updated = [*self._updated, self._counts]
        before = [tensor.clone() for tensor in updated]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._step_index.zero_()
                self._step(adjusted)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self._step_index.zero_()
        with torch.cuda.graph(graph):
            self._step(adjusted)
        for tensor, saved in zip(updated, before, strict=True):
            tensor.copy_(saved)
        return graph.replay

    def _step(self, adjusted: bool) -> None:
        """Draw an id for every stream, store it with its nats, and read it."""
        logits = self._logits.to(self._backend.dtype)
        numbers = self._numbers.index_select(0, self._step_index)[0]
        final = adjusted_logits(logits, self._adjustment, self._counts) if adjusted else logits
        ids = draw(sampling_weights(final, self._params), numbers)
        if adjusted:
            self._counts.scatter_add_(1, ids[:, None], self._counts.new_ones(len(ids), 1))
        nats = -torch.log_softmax(logits, dim=1).gather(1, ids[:, None])
        self._ids.index_copy_(0, self._step_index, ids[None])
        self._nats.index_copy_(0, self._step_index, nats.T)
        self._step_index += 1
        predicted, state = self._backend.network(ids[None], self._state)
        for target, source in zip(self._updated, [*_vectors(state), predicted[0]], strict=True):
            target.copy_(source)


def _vectors(state: State) -> list[Tensor]:
    return [vector for layer in state for vector in layer]
