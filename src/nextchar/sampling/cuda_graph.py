"""Writing on a GPU: one step of all lanes, choosing included, captured once as a graph and played for every character.

It has the methods of `Engine` and `Group`, so that a `Writer` works with either. On a CPU it runs the same step
uncaptured, slowly, for the tests.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.kernels.sampler import uniform
from nextchar.kernels.steps import Ids
from nextchar.model.network import Network
from nextchar.model.state import State, map_state
from nextchar.sampling.engine import Filters, Nats
from nextchar.storage import ModelFile, to_language_model

MOST = 64  # characters of one call at the most


class DeviceLanes(NamedTuple):
    """What N streams have read: the state, and the logits `(N, V)` of what comes next."""

    state: State
    logits: Tensor


class DeviceEngine:
    """A network on a device of torch's, ready to step."""

    def __init__(self, model: ModelFile, device: torch.device) -> None:
        self.network: Network = to_language_model(model, device).network
        self.device = device
        self.vocabulary_size = len(model.vocabulary)

    def begin(self, prompt: npt.ArrayLike = ()) -> DeviceLanes:
        """Return the state after START and a prompt `(T,)`."""
        ids = np.concatenate([[self.vocabulary_size], np.asarray(prompt, np.int64)])
        with torch.no_grad(), self.network.threads():
            state, logits = self.network.empty_state(1), torch.empty(0)
            for piece in torch.split(torch.from_numpy(ids).to(self.device), 4096):
                logits, state = self.network(piece[:, None], state)
        return DeviceLanes(state, logits[-1].float())

    def group(
        self, size: int, filters: Filters, ends: npt.ArrayLike = (), _team: int | None = None
    ) -> "DeviceGroup":
        """Return room for lanes that write side by side."""
        return DeviceGroup(self, size, filters, ends)


class DeviceGroup:
    """StreamState that write side by side, the first `count` of them in use.

    Args:
        engine: The network.
        size: How many lanes there can be.
        filters: How characters are chosen.
        ends: Ids after which `write` stops, for someone to look.
    """

    def __init__(self, engine: DeviceEngine, size: int, filters: Filters, ends: npt.ArrayLike = ()) -> None:
        self._engine, self._filters, self._size = engine, filters, size
        # A graph cannot be left in the middle, so where an end may come it is played for one character at a time.
        self._most = 1 if np.size(ends) else MOST
        device, vocabulary = engine.device, engine.vocabulary_size
        # What a graph reads and writes stays where it was when it was captured.
        self._state = map_state(torch.clone, engine.network.empty_state(size))
        self._logits = torch.zeros(size, vocabulary, device=device)
        self._numbers = torch.zeros(MOST, size, dtype=torch.float64, device=device)
        self._ids = torch.zeros(MOST, size, dtype=torch.int64, device=device)
        self._nats = torch.zeros(MOST, size, dtype=torch.float64, device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._keys = np.zeros(size, np.uint64)
        self._places = np.zeros(size, np.int64)
        self._play: Callable[[], None] | None = None
        self.count = 0

    def add(self, state: DeviceLanes, key: int) -> None:
        """Begin a text in the next free lane: character k of it takes number k of the key's random stream."""
        for target, source in zip(self._vectors(self._state), self._vectors(state.state), strict=True):
            target[self.count] = source[0]
        self._logits[self.count] = state.logits[0]
        self._keys[self.count], self._places[self.count] = key, 0
        self.count += 1

    def drop(self, lane: int) -> None:
        """End a text; the last lane moves to its place."""
        self.count -= 1
        for tensor in (*self._vectors(self._state), self._logits):
            tensor[lane] = tensor[self.count].clone()
        for array in (self._keys, self._places):
            array[lane] = array[self.count]

    def write(self, length: int) -> tuple[Ids, Nats]:
        """Write characters with every lane in use; return ids and what they cost, each `(T, N)` with T at most length."""
        length = min(length, self._most)
        numbers = np.zeros((length, self._size))
        for lane in range(self.count):
            for step in range(length):
                numbers[step, lane] = uniform(self._keys[lane], self._places[lane] + step)
        self._places[: self.count] += length
        self._numbers[:length] = torch.from_numpy(numbers)
        with torch.no_grad(), self._engine.network.threads():
            play = self._play = self._play or self._prepared()
            self._place.zero_()
            for _ in range(length):
                play()
        return (
            self._ids[:length, : self.count].cpu().numpy(),
            self._nats[:length, : self.count].cpu().numpy(),
        )

    @staticmethod
    def _vectors(state: State) -> list[Tensor]:
        return [vector for layer in state for vector in layer]

    def _prepared(self) -> Callable[[], None]:
        """Return the step: on a GPU captured as a graph, after a few trial steps that leave no trace."""
        if self._engine.device.type != "cuda":
            return self._step
        static = (*self._vectors(self._state), self._logits)
        kept = [tensor.clone() for tensor in static]
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._place.zero_()
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self._place.zero_()
        with torch.cuda.graph(graph):
            self._step()
        for tensor, was in zip(static, kept, strict=True):
            tensor.copy_(was)
        return graph.replay

    def _step(self) -> None:
        """Choose an id in every lane, keep it, and read it."""
        log_p = torch.log_softmax(self._logits.double(), dim=-1)
        chosen = self._choose(self._numbers.index_select(0, self._place)[0])
        self._ids.index_copy_(0, self._place, chosen[None])
        self._nats.index_copy_(0, self._place, -log_p.gather(1, chosen[:, None]).T)
        self._place += 1
        logits, state = self._engine.network(chosen[None], self._state)
        self._logits.copy_(logits[0])
        for target, source in zip(self._vectors(self._state), self._vectors(state), strict=True):
            target.copy_(source)

    def _choose(self, numbers: Tensor) -> Tensor:
        """Return the ids `(N,)` that numbers `(N,)` from [0, 1) draw."""
        if self._filters.temperature == 0:
            return self._logits.argmax(dim=-1)
        weights = filtered(self._logits, self._filters)
        reached = weights.cumsum(dim=-1)
        drawn = (reached <= (numbers * reached[:, -1])[:, None]).sum(dim=-1)
        # Rounding may carry a draw past the last id that has any weight.
        places = torch.arange(weights.shape[1], device=weights.device)
        return torch.minimum(drawn, torch.where(weights > 0, places, 0).amax(dim=-1))


def filtered(logits: Tensor, filters: Filters) -> Tensor:
    """Return the weights `(N, V)` float64 that are drawn from: temperature, then top-k, top-p and min-p."""
    p = torch.softmax(logits.double() / max(filters.temperature, 1e-30), dim=-1)
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    if 0 < filters.top_k < p.shape[1]:
        ordered = torch.where(torch.arange(p.shape[1], device=p.device) < filters.top_k, ordered, 0.0)
    if filters.top_p < 1:
        reached = ordered.cumsum(dim=-1)
        ordered = torch.where(reached - ordered < filters.top_p * reached[:, -1:], ordered, 0.0)
    ordered = torch.where(ordered >= filters.min_p * ordered[:, :1], ordered, 0.0)
    return torch.zeros_like(p).scatter(-1, order, ordered)
