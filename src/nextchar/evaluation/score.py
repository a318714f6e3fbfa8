"""Exact scores: every character once, under a named protocol, summed in float64 and divided once.

*stream* reads the text in order with the state carried from an empty start. *windows* cuts it into non-overlapping
windows, each from the empty state. In both, the first character after an empty state is predicted from START.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nextchar.errors import ConfigError, TextError
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network
from nextchar.model.state import State, largest_difference, map_state, select_rows, vectors_of
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Unknown, Vocabulary, common_vocabulary

ProtocolName = Literal["stream", "windows"]
PROTOCOLS: tuple[ProtocolName, ...] = ("stream", "windows")

LANES = 64
CHUNK = 128  # characters a lane advances at a time
BLOCK = 1 << 20  # characters whose losses are held at a time
DEPTH = 4096  # a lane is at least so long: a network remembers for thousands of characters
SAME = 1e-4  # two states that differ less than this, in all that the network can see of them, are one
REPAIRS = 2  # of all lanes side by side

Nats = npt.NDArray[np.float64]


class Predictor(Protocol):
    """What scoring asks of a network."""

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Return logits `(T, N, V)` for ids `(T, N)`, and the state after."""

    def empty_state(self, lanes: int) -> State:
        """Return the state before any text."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a text is predicted.

    Attributes:
        protocol: "stream", or "windows".
        chars: Characters scored (bytes for a byte model).
        bytes: How many UTF-8 bytes they are.
        nats_per_char: Mean of -ln p over the characters.
        bits_per_char: The same in bits.
        bits_per_byte: Bits over bytes: comparable between vocabularies.
    """

    protocol: str
    chars: int
    bytes: int
    nats_per_char: float
    bits_per_char: float
    bits_per_byte: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)


def make_score(protocol: str, nats: float, chars: int, bytes_: int) -> Score:
    """Divide a sum of nats once."""
    bits = nats / math.log(2)
    return Score(protocol, chars, bytes_, nats / chars, bits / chars, bits / bytes_)


def evaluate(
    lm: LanguageModel | Sequence[LanguageModel],
    text: str | bytes,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
    unknown: Unknown = "error",
) -> Score:
    """Score a text.

    Args:
        lm: The model; or several of one vocabulary, whose probabilities are averaged.
        text: At least one character that the model knows.
        protocol: "stream" or "windows".
        window: Characters of a window.
        unknown: "error", or "skip" to leave out what the model has never seen.

    Raises:
        UnknownCharacterError: Counts and names what the model has never seen.
        TextError: Nothing is left to score.
        ConfigError: Several models of different vocabularies.
    """
    models = [lm] if isinstance(lm, LanguageModel) else list(lm)
    vocabulary = common_vocabulary([each.vocabulary for each in models])
    ids = vocabulary.encode(text, unknown=unknown)
    networks = [each.network for each in models]
    return score_ids(networks, ids, vocabulary, protocol=protocol, window=window)


def score_ids(
    network: Predictor | Sequence[Predictor],
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
    watch: Callable[[Nats], object] = len,
) -> Score:
    """Score ids `(T,)`; `watch` is shown what every character costs, block by block, in the order of the text."""
    blocks = nats_of(network, ids, vocabulary.start, protocol=protocol, window=window)
    return _summed(protocol, blocks, ids, vocabulary, watch)


def estimate(network: Predictor, ids: npt.NDArray[Any], vocabulary: Vocabulary) -> Score:
    """Score a *stream* in a time that is known before: lanes are read again `REPAIRS` times at most.

    That is exact for a network that forgets within so many lanes; of another, every character was read with
    `REPAIRS` lanes before it at least.
    """
    return _summed("stream", stream(network, ids, vocabulary.start, exact=False), ids, vocabulary)


def _summed(
    protocol: ProtocolName,
    blocks: Iterable[Nats],
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    watch: Callable[[Nats], object] = len,
) -> Score:
    """Return the score of ids from what every character costs."""
    total = 0.0
    for block in blocks:
        watch(block)
        total += math.fsum(block)
    return make_score(protocol, total, len(ids), vocabulary.size_in_bytes(ids))


def score_spread(network: Predictor, text: Corpus, vocabulary: Vocabulary, limit: int) -> Score:
    """Score a text, or, if it is longer than `limit`, stretches spread over it, each from the empty state.

    Not its beginning alone: what stands before a validation part is training text, and how well a network does just
    after it says most about how recently it read that.
    """
    total, window = len(text), min(DEPTH, max(1, limit // 4))
    if total <= limit:
        return estimate(network, text.take(0, total), vocabulary)
    starts = np.linspace(0, total - window, limit // window).astype(int)
    ids = np.concatenate([text.take(start, start + window) for start in starts])
    return score_ids(network, ids, vocabulary, protocol="windows", window=window)


def nats_of(
    network: Predictor | Sequence[Predictor],
    ids: npt.NDArray[Any],
    start: int,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
) -> Iterator[Nats]:
    """Yield what every character costs, block by block, in the order of the text.

    Args:
        network: Anything that predicts; or several, the mean of whose probabilities is meant.
        ids: `(T,)`, at least one.
        start: The id of START.
        protocol: "stream" or "windows".
        window: Characters of a window.
    """
    if not len(ids):
        raise TextError("there is no character to score")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"the protocol is '{protocol}', but must be one of {', '.join(PROTOCOLS)}")
    if window < 1:
        raise ConfigError(f"the window is {window}, but must be 1 or more")
    if isinstance(network, Sequence):
        parts = [nats_of(each, ids, start, protocol=protocol, window=window) for each in network]
        return (averaged(blocks) for blocks in zip(*parts, strict=True))
    return windows(network, ids, start, window) if protocol == "windows" else stream(network, ids, start)


def averaged(costs: Sequence[Nats]) -> Nats:
    """Return what characters cost the mean of several models' probabilities, from what they cost each, all `(T,)`."""
    return math.log(len(costs)) - np.logaddexp.reduce([-nats for nats in costs], axis=0)


def windows(network: Predictor, ids: npt.NDArray[Any], start: int, window: int) -> Iterator[Nats]:
    """Score windows side by side, each from the empty state; the last may be shorter."""
    whole = len(ids) - len(ids) % window
    together = max(1, min(LANES * 4, BLOCK // window)) * window
    for begin in range(0, len(ids), together):
        end = min(begin + together, whole) if begin < whole else len(ids)
        # A round that the whole windows do not fill takes along the shorter one after them.
        shorter = [] if end in (begin + together, len(ids)) else [(end, len(ids))]
        for first, last in [(begin, end), *shorter]:
            rows = np.asarray(ids[first:last], np.int64).reshape(-1, min(window, last - first))
            inputs = np.concatenate([np.full((len(rows), 1), start), rows[:, :-1]], axis=1)
            nats, _ = read(network, inputs.T, rows.T, network.empty_state(len(rows)))
            yield nats.T.reshape(-1)


def stream(
    network: Predictor,
    ids: npt.NDArray[Any],
    start: int,
    *,
    lanes: int = LANES,
    exact: bool = True,
) -> Iterator[Nats]:
    """Score a text in order, the state carried, block after block; lanes of it side by side (`_side_by_side`)."""
    state, before = network.empty_state(1), start
    for begin in range(0, len(ids), BLOCK):
        block = np.asarray(ids[begin : begin + BLOCK], np.int64)
        inputs = np.concatenate([[before], block[:-1]])
        count = max(1, min(lanes, len(block) // DEPTH))
        depth = len(block) // count
        whole = depth * count
        nats, state = _side_by_side(
            network,
            inputs[:whole].reshape(count, depth).T,
            block[:whole].reshape(count, depth).T,
            state,
            exact=exact,
        )
        yield nats
        if whole < len(block):
            rest, state = read(network, inputs[whole:, None], block[whole:, None], state)
            yield rest[:, 0]
        before = int(block[-1])


def _side_by_side(
    network: Predictor,
    inputs: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    state: State,
    *,
    exact: bool,
) -> tuple[Nats, State]:
    """Score consecutive lanes `(T, N)` in parallel, exactly as if they were read one after the other.

    At first every lane but the first is read from the empty state. Then each is read again from the state that the
    lane before it ended in, chunk by chunk, until its state is what it was the first time: from there on nothing
    changes. That comes, because a network forgets. If it does not, in `REPAIRS` of them, they would go on until the last
    lane is right: then the lanes are read one after the other, each once.
    """
    depth, count = inputs.shape
    edges = list(range(0, depth, CHUNK))
    nats = np.empty((depth, count))
    entering = [_put(network.empty_state(count), state, [0])]
    for edge in edges:
        piece = slice(edge, edge + CHUNK)
        nats[piece], after = read(network, inputs[piece], targets[piece], entering[-1])
        entering.append(after)

    def repair(lanes: npt.NDArray[np.int64]) -> bool:
        """Read lanes again from where the lanes before them ended, until nothing changes; tell whether anything did."""
        current = _take(entering[-1], lanes - 1)
        differs = _differs(current, _take(entering[0], lanes))
        lanes, current = lanes[differs], _take(current, differs)
        changed = bool(len(lanes))
        for index, edge in enumerate(edges):
            if not len(lanes):
                return changed
            entering[index] = _put(entering[index], current, lanes)
            piece = slice(edge, edge + CHUNK)
            nats[piece, lanes], current = read(network, inputs[piece, lanes], targets[piece, lanes], current)
            differs = _differs(current, _take(entering[index + 1], lanes))
            lanes, current = lanes[differs], _take(current, differs)
        entering[-1] = _put(entering[-1], current, lanes)
        return changed

    all_lanes = np.arange(1, count)
    for _ in range(REPAIRS):
        if not repair(all_lanes):
            break
    else:
        for lane in all_lanes if exact else ():
            repair(np.array([lane]))
    return nats.T.reshape(-1), _take(entering[-1], [count - 1])


def _differs(one: State, other: State) -> npt.NDArray[np.bool_]:
    """Return in which lanes two states are not the same, `(N,)`."""
    return (largest_difference(_seen(one), _seen(other)) > SAME).cpu().numpy()


def _seen(state: State) -> State:
    """Return what a network can see of its state: of a cell, only tanh c; a cell at 300 and one at 400 act alike."""
    return tuple((layer[0], *(torch.tanh(cell) for cell in layer[1:])) for layer in state)


def _take(state: State, lanes: Any) -> State:
    return select_rows(state, torch.as_tensor(lanes, device=state[0][0].device))


def _put(state: State, values: State, lanes: Any) -> State:
    """Return a copy of a state with some lanes replaced."""
    result = map_state(Tensor.clone, state)
    for vector, value in vectors_of(result, values):
        vector[torch.as_tensor(lanes, device=vector.device)] = value.to(vector.dtype)
    return result


def _losses(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return -ln p of each target, `(T, N)`, from logits `(T, N, V)`."""
    loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return loss.reshape(wanted.shape).double()


def read(
    network: Predictor,
    inputs: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    state: State,
    of: Callable[[Tensor, Tensor], Tensor] = _losses,
) -> tuple[npt.NDArray[Any], State]:
    """Read `(T, N)` ids in pieces; return what is made of logits and targets, `(T, N, ...)`, and the state after."""
    device = state[0][0].device
    parts = []
    threads = network.threads() if isinstance(network, Network) else nullcontext()
    with torch.no_grad(), threads:
        for begin in range(0, len(inputs), CHUNK):
            ids = torch.from_numpy(np.ascontiguousarray(inputs[begin : begin + CHUNK])).to(device)
            wanted = torch.from_numpy(np.ascontiguousarray(targets[begin : begin + CHUNK])).to(device)
            logits, state = network(ids, state)
            parts.append(of(logits.float(), wanted).cpu().numpy())
    return np.concatenate(parts), state
