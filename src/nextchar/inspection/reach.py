"""How far back a prediction depends on the text: by its gradient, and by the loss with a shorter context.

The distance of the last character read is 1. A context of k characters is START and then the k characters before the
one that is predicted, as after every state reset in training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from nextchar.architecture import Cell
from nextchar.errors import TextError, as_integer
from nextchar.inspection.trace import Floats, Given, open_both
from nextchar.model.cells import Weights
from nextchar.model.compiled import Lookup
from nextchar.model.network import Network
from nextchar.model.reading import Chunk, Doubles, Ids, Reader, log_probabilities, shift, to_numpy
from nextchar.model.recurrence import Recurrence, fastest
from nextchar.model.state import LayerState, State, concatenate_rows
from nextchar.storage import ModelSource

DISTANCE = 1000
PLACES = 24  # of the gradient
GRADIENT_ROWS = 8  # predictions that are differentiated in parallel; memory is proportional to it
# Many rows for short contexts, whose part of the curve cannot average over neighbouring contexts.
SHORT, SHORT_ROWS, LONG_ROWS = 32, 512, 64
CONTEXTS = (0, 1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1000)
CHUNK = 4096
ENOUGH = 0.01  # a context is enough if it raises the loss by less than this share


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back predictions of a text depend on it.

    Attributes:
        places: Positions t of the predictions that were differentiated, `(P,)`.
        gradient: The norm of the gradient of ln p of character t with respect to the input vector of the character at
            distance 1, 2, ... before it, nats per unit of that vector, `(P, D)`.
        contexts: The shortest context of each step of the curve, `(K,)`; a step ends before the next one's.
        cost: Mean increase in surprisal over reading everything before, nats per character, `(K,)`.
        error: The standard error of `cost`, over the places at which contexts begin, `(K,)`.
        loss: Mean nats per character of the text with everything before read.
    """

    places: Ids
    gradient: Floats
    contexts: Ids
    cost: Floats
    error: Floats
    loss: float

    @property
    def enough(self) -> int | None:
        """The first context from which on the increase stays below 1 % of the loss; None if there is none."""
        costly = np.flatnonzero(self.cost >= ENOUGH * self.loss)
        after = int(costly[-1]) + 1 if len(costly) else 0
        return int(self.contexts[after]) if after < len(self.contexts) else None

    def half(self) -> Floats:
        """Return the distance within which half of each place's gradient lies, `(P,)`; 0 if there is no gradient."""
        total = self.gradient.cumsum(1)
        return np.where(total[:, -1] > 0, 1 + (total < total[:, -1:] / 2).sum(1), 0)


def reach(model: ModelSource, text: Given, *, places: int = PLACES, distance: int = DISTANCE) -> Reach:
    """Measure how far back predictions depend on the text.

    Args:
        model: A model, its file or its path.
        text: At least two characters that the model knows, or ids `(T,)`.
        places: How many predictions to differentiate, spread evenly over the text.
        distance: How far back, in characters; less if the text is shorter.

    Raises:
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: The text has fewer than two characters.
        ConfigError: `places` or `distance` is below 1.
    """
    lm, ids = open_both(model, text)
    for name, value in (("places", places), ("distance", distance)):
        as_integer(name, value, "1 or more", 1)
    if len(ids) < 2:
        raise TextError(f"the reach needs at least 2 characters, but the text has {len(ids)}")
    distance = min(distance, len(ids) - 1)
    targets = np.unique(np.linspace(distance, len(ids) - 1, places).astype(np.int64))
    network, start = lm.network, lm.vocabulary.start
    nats, states = _stream(network, ids, start, targets - distance)
    gradient = [
        _gradient(network, _windows(ids, targets[some] - distance, distance + 1), states[some])
        for some in (slice(begin, begin + GRADIENT_ROWS) for begin in range(0, len(targets), GRADIENT_ROWS))
    ]
    contexts, cost, error = _truncated(network, ids, nats, start, distance)
    return Reach(targets, np.concatenate(gradient), contexts, cost, error, float(nats.mean()))


def _windows(ids: Ids, starts: Ids, length: int) -> Ids:
    """Return the characters from each start on, `(length, B)`."""
    return ids[starts + np.arange(length)[:, None]]


def _stream(network: Network, ids: Ids, start: int, marks: Ids) -> tuple[Doubles, list[State]]:
    """Read a text in order; return surprisals `(T,)`, and the state before the character at each (ascending) mark."""
    inputs, targets = shift(ids[:, None], start), ids[:, None]
    # The state before a character is the state after the input before it, which `shift` moved one place on.
    marked, found, nats, state = set(marks.tolist()), [], [], network.empty_state(1)
    stops = sorted({0, *(mark + 1 for mark in marked), len(ids)})
    for begin, end in pairwise(stops):
        block, state = Reader(network, CHUNK).surprisals(inputs[begin:end], targets[begin:end], state)
        nats.append(block[:, 0])
        if end - 1 in marked:
            found.append(state)
    return np.concatenate(nats), found


def _gradient(network: Network, window: Ids, states: Sequence[State]) -> Floats:
    """Return the norms of the gradients of ln p of the last row of `(D + 1, B)` to each input, nearest first, `(B, D)`."""
    leaves: list[Tensor] = []
    norms: list[Tensor] = []

    def visit(chunk: Chunk) -> None:
        last = torch.from_numpy(window[-1]).to(chunk.logits.device)[:, None]
        log_p = log_probabilities(chunk.logits[-1]).gather(-1, last).sum()
        norms.extend(torch.linalg.vector_norm(each, dim=-1) for each in torch.autograd.grad(log_p, leaves))

    reader = Reader(network, len(window), lambda _: _from_leaf(leaves), gradients=True)
    reader.read(window[:-1], concatenate_rows(list(states)), visit)
    return to_numpy(norms[0].flip(0).T)


def _from_leaf(leaves: list[Tensor]) -> Recurrence:
    """Return the fastest recurrence with the inputs of the first layer as a leaf of the graph, appended to a list."""

    def recurrence(cell: Cell, x: Tensor | Lookup, state: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
        if isinstance(x, Lookup):
            x = x.dense().detach().requires_grad_()
            leaves.append(x)
        return fastest(cell, x, state, Weights(*(weight.detach() for weight in weights)))

    return recurrence


def _truncated(network: Network, ids: Ids, nats: Doubles, start: int, distance: int) -> tuple[Ids, Floats, Floats]:
    """Return contexts, mean costs and their standard errors, from readings that start at many places of the text.

    The same character is compared with the whole text read before it, so only the missing context makes a difference.
    """
    depth = min(distance + 1, len(ids))
    short = _from_empty(network, ids, nats, start, (min(SHORT, depth), SHORT_ROWS))
    long = _from_empty(network, ids, nats, start, (depth, LONG_ROWS))
    contexts, rows = [], []
    for begin, end in pairwise([*(k for k in CONTEXTS if k < depth), depth]):
        more = (short if end <= len(short) else long)[begin:end].mean(0)
        contexts.append(begin)
        rows.append((more.mean(), more.std(ddof=1) / math.sqrt(len(more)) if len(more) > 1 else math.nan))
    cost, error = np.array(rows).T
    return np.array(contexts), cost, error


def _from_empty(network: Network, ids: Ids, nats: Doubles, start: int, shape: tuple[int, int]) -> Doubles:
    """Return the increase in surprisal of characters after 0, 1, 2, ... characters from the empty state, `(K, B)`."""
    length, rows = shape
    last = len(ids) - length
    # Not at the very beginning, where the truncated context and the whole one are the same.
    starts = np.unique(np.linspace(min(length, last), last, rows).astype(np.int64))
    window = _windows(ids, starts, length)
    truncated, _ = Reader(network).surprisals(shift(window, start), window, network.empty_state(len(starts)))
    whole: Doubles = nats[starts + np.arange(length)[:, None]]
    return truncated - whole
