"""The one reader of networks: batches, carried state, the exact parallel reading of a text, threads and devices.

A `Reader` passes ids through a network as inputs, chunk by chunk. A visitor sees each chunk: where it is, the logits after
every input and, if asked, what every layer computed. The logits after input k predict id k + 1, so a text that is
scored from its first character on is read as START and all its ids but the last (`shift`):

    nats = np.empty(len(ids))

    def visit(chunk: Chunk) -> None:
        nats[chunk.index] = to_numpy(surprisal(chunk.logits, ids[chunk.index]))

    Reader(network).read_text(shift(ids, start), network.empty_state(1), visit)

`read` takes B independent rows, `(T, B)`. `read_text` takes one text, `(T,)`, and reads parts of it in parallel, with the
result of reading it in order. In both, `array[chunk.index]` is what belongs to the chunk of any array laid out like the
inputs; its shape is `(t, b, ...)`. Options of the reader:

- `record=True`: the reference recurrence runs, and `chunk.layers[l]` has its signals, such as `"tanh_c"`.
- `recurrence=lambda first: ...`: any recurrence, made for each chunk from the number of its first input (interventions).
- `gradients=True`: the visitor may call `torch.autograd.grad`; the state is detached between chunks.

A caller needs no `torch.no_grad`, no `Network.threads` and no device: inputs are moved to the network's device, and
`to_numpy` brings results back. float64 exists on the CPU only, because not every device has it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nextchar.kernels.threads import parallel_for
from nextchar.model.compiled import own_threads
from nextchar.model.network import Network
from nextchar.model.recurrence import Recurrence, Signals, reference
from nextchar.model.state import State, concatenate_rows, detach, largest_difference, map_state, select_rows, vectors_of

ROWS = 64  # parts of a text that are read in parallel
CHUNK = 128  # inputs of a row that are read at a time
MIN_DEPTH = 4096  # a part of a text is at least so long: networks remember thousands of characters
RECORD_ROWS = 64  # chunks that are recorded in parallel; the memory of a recording is proportional to it
TOLERANCE = 1e-4  # two states are equal if all that the network can see of them differs by less
REPAIRS = 2  # passes over all parts before they are read one after the other

Ids = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


class Predictor(Protocol):
    """What a reader requires of a network; `Network` has it, and so have the networks of studies and tests."""

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Return logits `(T, B, V)` for ids `(T, B)`, and the state after."""

    def empty_state(self, batch_size: int, /) -> State:
        """Return the state before any text."""


class Chunk(NamedTuple):
    """What a visitor sees: t consecutive inputs of b rows.

    Attributes:
        index: Selects the chunk from any array laid out like the inputs: `array[index]` is `(t, b, ...)`.
        logits: After each input, `(t, b, V)`, on the network's device.
        layers: Signals of each layer after each input, `(t, b, H)`, if they are recorded; see `recurrence.Signals`.
    """

    index: Any
    logits: Tensor
    layers: list[Signals]


Visitor = Callable[[Chunk], object]


def log_probabilities(logits: Tensor) -> Tensor:
    """Return ln p of every id, `(..., V)`: in float64 on the CPU, in float32 on other devices."""
    return (logits.double() if logits.device.type == "cpu" else logits.float()).log_softmax(-1)


def surprisal(logits: Tensor, ids: Tensor | Ids) -> Tensor:
    """Return -ln p of ids, in nats, float32, on the device of the logits; gradients flow through it.

    Args:
        logits: `(..., V)`.
        ids: `(...)`, on any device.
    """
    targets = ids if isinstance(ids, Tensor) else torch.from_numpy(np.array(ids, np.int64, order="C"))
    targets = targets.to(logits.device)
    losses = functional.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), reduction="none")
    return losses.reshape(targets.shape)


def to_numpy(values: Tensor) -> Doubles:
    """Return values of any device as float64; the conversion happens on the CPU."""
    return values.detach().cpu().double().numpy()


def shift(ids: Ids, start: int) -> Ids:
    """Return the inputs that predict ids `(T, ...)` from the empty state: START, then all but the last."""
    return np.concatenate([np.full_like(ids[:1], start, np.int64), ids[:-1]])


def in_parallel(work: Callable[[int, int], None], count: int) -> None:
    """Divide independent readings among the cores: call `work(first, after_last)` for parts of `range(count)`."""
    with own_threads():
        parallel_for(work, count, 1)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads ids with a network.

    Attributes:
        network: On any device.
        chunk: Inputs of a row that are read at a time.
        recurrence: Called with the number of the first input of each chunk in `read`; returns what reads the chunk.
        record: Whether the reference recurrence reads, and the visitor sees the signals of every layer.
        gradients: Whether the visitor differentiates. The state is detached after every chunk.
    """

    network: Predictor
    chunk: int = CHUNK
    recurrence: Callable[[int], Recurrence] | None = None
    record: bool = False
    gradients: bool = False

    def read(self, inputs: Ids, state: State, visit: Visitor | None = None) -> State:
        """Read independent rows side by side.

        Args:
            inputs: `(T, B)`.
            state: Before the first input, B rows.
            visit: Called with every chunk, in order.

        Returns:
            The state after the last input.
        """
        with self._computing():
            for first in range(0, len(inputs), self.chunk):
                index = slice(first, first + self.chunk), slice(None)
                recurrence = self.recurrence(first) if self.recurrence else None
                state = detach(self._advance(inputs, index, state, visit, recurrence))
        return state

    def surprisals(self, inputs: Ids, targets: Ids, state: State) -> tuple[Doubles, State]:
        """Read independent rows; return -ln p of the target after each input in nats, `(T, B)`, and the state after."""
        nats = np.empty(targets.shape)

        def visit(chunk: Chunk) -> None:
            nats[chunk.index] = to_numpy(surprisal(chunk.logits, targets[chunk.index]))

        return nats, self.read(inputs, state, visit)

    def read_text(self, inputs: Ids, state: State, visit: Visitor, *, rows: int = ROWS, exact: bool = True) -> State:
        """Read one text, parts of it in parallel, with the result of reading it in order.

        The visitor sees chunks in any order, and some of them several times: the last time counts. Signals are
        recorded once for each chunk, and the visitor is then called from several threads.

        Args:
            inputs: `(T,)`, at least one.
            state: Before the first input, one row.
            visit: Called with chunks; the index of a chunk is an array of positions, `(t, b)`.
            rows: How many parts at most are read in parallel.
            exact: False limits the time to that of three readings. That is exact for a network that forgets within
                two parts.

        Returns:
            The state after the last input, one row.
        """
        if self.record:
            states, state = self.states(inputs, state, rows=rows, exact=exact)
            self.record_chunks(inputs, states, visit)
            return state
        count = max(1, min(rows, len(inputs) // MIN_DEPTH))
        depth = len(inputs) // count
        places = np.arange(count * depth).reshape(count, depth).T
        rest = np.arange(count * depth, len(inputs))[:, None]
        with self._computing():
            entering = _settle(self, inputs, places, state, visit, exact=exact)
            state = _take(entering[-1], [count - 1])
            for first in range(0, len(rest), self.chunk):
                state = self._advance(inputs, rest[first : first + self.chunk], state, visit)
        return state

    def states(self, inputs: Ids, state: State, *, rows: int = ROWS, exact: bool = True) -> tuple[State, State]:
        """Read one text `(T,)` as `read_text` does; return the states before each chunk of it, a row each, and after it."""
        fast = Reader(self.network, self.chunk)
        count = max(1, min(rows, len(inputs) // MIN_DEPTH))
        depth = len(inputs) // count // self.chunk * self.chunk
        places = np.arange(count * depth).reshape(count, depth).T
        with self._computing():
            entering = _settle(fast, inputs, places, state, None, exact=exact)
            before = [_take(each, [part]) for part in range(count) for each in entering[:-1]]
            state = _take(entering[-1], [count - 1])
            for first in range(count * depth, len(inputs), self.chunk):
                before.append(state)
                state = fast._advance(
                    inputs, np.arange(first, min(first + self.chunk, len(inputs)))[:, None], state, None
                )
        return concatenate_rows(before), state

    def record_chunks(self, inputs: Ids, states: State, visit: Visitor) -> None:
        """Show the signals of consecutive chunks, many in parallel, from the states before each of them, a row each.

        The visitor is called from several threads.
        """
        starts = np.arange(0, len(inputs), self.chunk)
        whole = len(inputs) // self.chunk
        # The last chunk may be shorter, and then cannot be read side by side with the others.
        for group in filter(len, (*np.split(starts[:whole], range(RECORD_ROWS, whole, RECORD_ROWS)), starts[whole:])):
            index = group + np.arange(min(self.chunk, len(inputs) - group[0]))[:, None]
            state = _take(states, group // self.chunk)

            def work(first: int, last: int, index: Ids = index, state: State = state) -> None:
                rows = slice(first, last)
                with torch.no_grad():  # a setting of each thread
                    self._advance(inputs, index[:, rows], select_rows(state, rows), visit)

            with self._computing():
                if state[0][0].device.type == "cpu":
                    in_parallel(work, index.shape[1])
                else:
                    work(0, index.shape[1])

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Set the threads and the gradient mode of torch for a reading."""
        network = self.network
        threads = network.threads() if isinstance(network, Network) else nullcontext()
        with torch.set_grad_enabled(self.gradients), threads:
            yield

    def _advance(
        self, inputs: Ids, index: Any, state: State, visit: Visitor | None, recurrence: Recurrence | None = None
    ) -> State:
        """Read one chunk and show it to the visitor; return the state after it."""
        ids = torch.from_numpy(np.array(inputs[index], np.int64, order="C")).to(state[0][0].device)
        layers: list[Signals] = []
        if self.record or recurrence:
            assert isinstance(self.network, Network)
            logits, state = self.network(ids, state, recurrence=recurrence or partial(reference, record=layers))
        else:
            logits, state = self.network(ids, state)
        if visit:
            visit(Chunk(index, logits, layers))
        return state


def _settle(
    reader: Reader, inputs: Ids, places: Ids, state: State, visit: Visitor | None, *, exact: bool
) -> list[State]:
    """Read consecutive parts of a text in parallel until the result is that of reading them in order.

    First every part but the first is read from the empty state. Then each is read again from the state in which the part
    before it ended, chunk by chunk, until its state is the same as before: from there on nothing changes. That
    happens early, because networks forget. If a network does not, in `REPAIRS` passes over all parts, these passes would go
    on until the last part is right; then the parts are read one after the other, each once.

    Args:
        reader: What reads.
        inputs: The text, `(T,)`.
        places: Positions in the text, `(depth, parts)`; column k + 1 continues column k.
        state: Before the first part, one row.
        visit: Called with every chunk, as often as it is read.
        exact: Whether to go on after `REPAIRS` passes.

    Returns:
        The states of all parts before each chunk, and those after the last chunk.
    """
    count = places.shape[1]
    edges = range(0, len(places), reader.chunk)
    entering = [_put(reader.network.empty_state(count), state, [0])]

    def advance(edge: int, parts: Any, state: State) -> State:
        return reader._advance(inputs, places[edge : edge + reader.chunk, parts], state, visit)  # noqa: SLF001

    def repair(parts: Ids) -> bool:
        """Read parts again from the states in which the parts before them ended; return whether that changed any."""
        current = _take(entering[-1], parts - 1)
        differs = _differs(current, _take(entering[0], parts))
        parts, current = parts[differs], _take(current, differs)
        changed = bool(len(parts))
        for number, edge in enumerate(edges):
            if not len(parts):
                return changed
            entering[number] = _put(entering[number], current, parts)
            current = advance(edge, parts, current)
            differs = _differs(current, _take(entering[number + 1], parts))
            parts, current = parts[differs], _take(current, differs)
        entering[-1] = _put(entering[-1], current, parts)
        return changed

    for edge in edges:
        entering.append(advance(edge, slice(None), entering[-1]))
    every = np.arange(1, count)
    for _ in range(REPAIRS):
        if not repair(every):
            return entering
    for part in every if exact else ():
        repair(np.array([part]))
    return entering


def _differs(one: State, other: State) -> npt.NDArray[np.bool_]:
    """Return for each row whether two states differ in what the network can see of them, `(B,)`."""
    return (largest_difference(_visible(one), _visible(other)) > TOLERANCE).cpu().numpy()


def _visible(state: State) -> State:
    """Return what a network can see of its state: of an LSTM's cell only tanh c, which is 1 at 300 as it is at 400."""
    return tuple((layer[0], *(torch.tanh(cell) for cell in layer[1:])) for layer in state)


def _take(state: State, rows: Any) -> State:
    return select_rows(state, torch.from_numpy(np.asarray(rows)).to(state[0][0].device))


def _put(state: State, values: State, rows: Any) -> State:
    """Return a copy of a state with some rows replaced."""
    result = map_state(Tensor.clone, state)
    for vector, value in vectors_of(result, values):
        vector[torch.from_numpy(np.asarray(rows)).to(vector.device)] = value.to(vector.dtype)
    return result
