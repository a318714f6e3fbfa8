"""How far back a prediction depends on what was read: by its gradient, and by what it costs not to have read it.

The distance of the last character read is 1. A context of k characters is START and then the k characters before the
one that is predicted, as at every cold start in training.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.errors import TextError
from nextchar.inspection.trace import Floats, Given
from nextchar.language_model import LanguageModel
from nextchar.model.cells import Weights
from nextchar.model.compiled import Lookup
from nextchar.model.network import Network
from nextchar.model.recurrence import Recurrence, fastest
from nextchar.model.state import LayerState, State, concatenate_rows

DISTANCE = 1000
PLACES = 24  # of the gradient
MR = 8  # places gone back from side by side: the memory follows from it
# Many lanes for short contexts, whose curve has no neighbours to lean on.
SHORT, SHORT_LANES, LONG_LANES = 32, 512, 64
CONTEXTS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000)
CHUNK = 4096
ENOUGH = 0.01  # a context is enough where it costs less than this share of the loss

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back predictions of a text depend on it.

    Attributes:
        places: Positions t of the predictions gone back from, `(P,)`.
        gradient: The length of the gradient of ln p of character t to the input vector of the character at distance
            1, 2, ... before it, nats per unit of that vector, `(P, D)`.
        contexts: The shortest context of each step of the curve, `(K,)`; a step goes up to the next one's.
        cost: Mean nats per character more than with everything read, `(K,)`.
        error: The standard error of that, over the places at which a context was begun, `(K,)`.
        loss: Mean nats per character of the text with everything read.
    """

    places: Ids
    gradient: Floats
    contexts: Ids
    cost: Floats
    error: Floats
    loss: float

    @property
    def enough(self) -> int | None:
        """The first context from which on all cost less than 1 % of the loss; None if that was not reached."""
        costly = np.flatnonzero(self.cost >= ENOUGH * self.loss)
        after = int(costly[-1]) + 1 if len(costly) else 0
        return int(self.contexts[after]) if after < len(self.contexts) else None

    def half(self) -> Floats:
        """Return the distance within which half of each place's gradient lies, `(P,)`; 0 where there is none."""
        total = self.gradient.cumsum(1)
        return np.where(total[:, -1] > 0, 1 + (total < total[:, -1:] / 2).sum(1), 0)


def reach(lm: LanguageModel, text: Given, *, places: int = PLACES, distance: int = DISTANCE) -> Reach:
    """Measure how far back predictions depend on what was read.

    Args:
        lm: The model.
        text: At least two characters that the model knows, or ids `(T,)`.
        places: How many predictions to go back from, spread evenly over the text.
        distance: How far, in characters; less if the text is shorter.

    Raises:
        UnknownCharacterError: Counts and names what the model has never seen.
        TextError: The text is too short to look back in.
    """
    ids = np.asarray(text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text), np.int64)
    if len(ids) < 2:
        raise TextError(f"a memory cannot be measured on {len(ids)} characters; give at least 2")
    distance = min(distance, len(ids) - 1)
    targets = np.unique(np.linspace(distance, len(ids) - 1, places).astype(np.int64))
    network = lm.network
    with network.threads():
        nats, states = _stream(network, ids, lm.vocabulary.start, targets - distance)
        batches = [slice(begin, begin + MR) for begin in range(0, len(targets), MR)]
        gradient = [
            _back(
                network, _windows(ids, targets[some] - distance, distance + 1), concatenate_rows(states[some])
            )
            for some in batches
        ]
        contexts, cost, error = _truncated(network, ids, nats, lm.vocabulary.start, distance)
    return Reach(targets, np.concatenate(gradient), contexts, cost, error, float(nats.mean()))


def _windows(ids: Ids, starts: Ids, length: int) -> Tensor:
    """Return what stands from each start on, `(length, N)`."""
    return torch.from_numpy(ids[starts + np.arange(length)[:, None]])


def _nats(logits: Tensor, targets: Tensor) -> Floats:
    """Return -ln p of targets `(T, N)` by logits `(T, N, V)`."""
    chosen = logits.double().log_softmax(-1).gather(-1, targets.to(logits.device)[..., None])
    return -chosen[..., 0].cpu().numpy()


def _stream(network: Network, ids: Ids, start: int, marks: Ids) -> tuple[Floats, list[State]]:
    """Read a text in order; return what each character costs, `(T,)`, and the state before each (ascending) mark."""
    device = network.head.weight.device
    marked, found, nats = set(marks.tolist()), [], []
    stops = sorted({*marked, *range(0, len(ids), CHUNK), len(ids)})
    with torch.no_grad():
        before, state = network(torch.tensor([[start]], device=device), network.empty_state(1))
        for begin, end in pairwise(stops):
            if begin in marked:
                found.append(state)
            block = torch.from_numpy(ids[begin:end, None])
            logits, state = network(block.to(device), state)
            nats.append(_nats(torch.cat([before, logits[:-1]]), block)[:, 0])
            before = logits[-1:]
    return np.concatenate(nats), found


def _back(network: Network, window: Tensor, state: State) -> Floats:
    """Return the lengths of the gradients of the last character's ln p of each lane of `(D + 1, N)`, nearest first."""
    inputs: list[Tensor] = []
    device = network.head.weight.device
    with torch.enable_grad():
        logits, _ = network(window[:-1].to(device), state, recurrence=_from_leaf(inputs))
        log_p = logits[-1].log_softmax(-1).gather(-1, window[-1].to(device)[:, None]).sum()
        (gradient,) = torch.autograd.grad(log_p, inputs)
    return gradient.norm(dim=-1).flip(0).T.double().cpu().numpy()


def _from_leaf(inputs: list[Tensor]) -> Recurrence:
    """Return the fast recurrence, the first layer's inputs being a leaf of the graph, which is added to a list."""

    def recurrence(
        cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights
    ) -> tuple[Tensor, LayerState]:
        if isinstance(x, Lookup):
            x = x.dense().detach().requires_grad_()
            inputs.append(x)
        return fastest(cell, x, state, Weights(*(weight.detach() for weight in weights)))

    return recurrence


def _truncated(
    network: Network, ids: Ids, nats: Floats, start: int, distance: int
) -> tuple[Ids, Floats, Floats]:
    """Return contexts, costs and their standard errors: begun anew at many places, and read on from there.

    A character is compared with itself, read with everything before it, so that only what was not read makes a difference.
    """
    depth = min(distance + 1, len(ids))
    short = _cold(network, ids, nats, start, (min(SHORT, depth), SHORT_LANES))
    long = _cold(network, ids, nats, start, (depth, LONG_LANES))
    contexts, rows = [], []
    for begin, end in pairwise([*(k for k in CONTEXTS if k < depth), depth]):
        more = (short if end <= len(short) else long)[begin:end].mean(0)
        contexts.append(begin)
        rows.append((more.mean(), more.std(ddof=1) / math.sqrt(len(more)) if len(more) > 1 else math.nan))
    cost, error = np.array(rows).T
    return np.array(contexts), cost, error


def _cold(network: Network, ids: Ids, nats: Floats, start: int, shape: tuple[int, int]) -> Floats:
    """Return what characters cost more when 0, 1, 2, ... characters before them were read, `(K, N)`."""
    length, lanes = shape
    last = len(ids) - length
    # Not from the very beginning, where everything before a character is no more than was read of it here.
    starts = np.unique(np.linspace(min(length, last), last, lanes).astype(np.int64))
    window = _windows(ids, starts, length)
    first = torch.full((1, len(starts)), start)
    device = network.head.weight.device
    state, costs = network.empty_state(len(starts)), []
    inputs = torch.cat([first, window[:-1]])
    with torch.no_grad():
        for begin in range(0, length, 128):
            logits, state = network(inputs[begin : begin + 128].to(device), state)
            costs.append(_nats(logits, window[begin : begin + 128]))
    costs_then: Any = nats[starts + np.arange(length)[:, None]]
    return np.concatenate(costs) - costs_then
