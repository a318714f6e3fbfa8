"""How far back a recurrence can be taught: the gradient's norm against distance, and one symbol to be recalled."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache import Kept
from nextchar.architecture import Architecture, Cell
from nextchar.model.cells import STEPS
from nextchar.model.network import Layer, Network, initialize
from tables import markdown

HIDDEN, LANES = 64, 64
SYMBOLS, DISTRACTORS = 8, 8
QUESTION = SYMBOLS + DISTRACTORS
DISTANCES = (5, 10, 20, 40, 80, 100, 160)
FARTHEST = 80  # beyond which a network is tried only if a seed recalls at the distance before
SEEDS = 5
STEPS_AT_MOST, CHECK_EVERY, CHECKED = 1200, 50, 1024
SOLVED = 0.999
RATE, BETAS = 3e-3, (0.9, 0.99)

NETWORKS: dict[str, tuple[Cell, float]] = {
    "rnn": ("rnn", 0.0),
    "lstm, forget bias 5": ("lstm", 5.0),
    "lstm, forget bias 1": ("lstm", 1.0),
}


def gradient_norms(
    cell: Cell, forget_bias: float, *, distance: int = 200, hidden: int = 128, seed: int = 0
) -> list[float]:
    """Return how much of the last step's gradient is left k steps before, for k from 0 to `distance`.

    The network is untrained and reads random characters; the norm is that of d loss / d c (of an rnn, d h), averaged
    over 32 lanes, and divided by its value at k = 0.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Network(Architecture(cell=cell, layers=1, hidden=hidden, embedding=64), 64)
    initialize(network, generator, forget_bias=forget_bias)
    layer = network.layers[0]
    assert isinstance(layer, Layer)
    inputs = network.embedding(torch.randint(64, (distance + 1, 32), generator=generator))
    state = tuple(torch.zeros(32, hidden) for _ in range(2 if cell == "lstm" else 1))
    states = []
    for x in inputs:
        state, _ = STEPS[cell](x, state, layer.weights())
        carried = state[-1].requires_grad_()
        carried.retain_grad()
        states.append(carried)
    # An untrained head hardly tells characters apart, so the gradient begins as a random vector.
    (state[0] * torch.randn(32, hidden, generator=generator)).sum().backward()  # type: ignore[no-untyped-call]
    norms = [float(each.grad.norm(dim=1).mean()) for each in reversed(states) if each.grad is not None]
    return [norm / norms[0] for norm in norms]


@dataclass(frozen=True, slots=True)
class Recall:
    """How well one network recalls one symbol across so many distractors."""

    network: str
    distance: int
    seed: int
    accuracy: float
    steps: int
    seconds: float

    @property
    def place(self) -> tuple[str, int, int]:
        """What tells it from the others."""
        return self.network, self.distance, self.seed


def batch(distance: int, lanes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return texts `(distance + 2, N)`: a symbol, distractors, the question; and the symbols, `(N,)`."""
    symbol = torch.randint(SYMBOLS, (1, lanes), generator=generator)
    between = torch.randint(SYMBOLS, QUESTION, (distance, lanes), generator=generator)
    return torch.cat([symbol, between, torch.full((1, lanes), QUESTION)]), symbol[0]


def accuracy(network: Network, distance: int, generator: torch.Generator) -> float:
    """Return how often the symbol is recalled, over 1,024 fresh texts."""
    ids, symbols = batch(distance, CHECKED, generator)
    with torch.no_grad():
        logits, _ = network(ids, network.empty_state(CHECKED))
    return float((logits[-1].argmax(1) == symbols).float().mean())


def learn(name: str, distance: int, seed: int) -> Recall:
    """Train one network of 64 units until it recalls, for at most 1,200 steps of 64 texts."""
    cell, forget_bias = NETWORKS[name]
    generator = torch.Generator().manual_seed(1000 * seed + distance)
    network = Network(Architecture(cell=cell, layers=1, hidden=HIDDEN, embedding=32), QUESTION + 1)
    initialize(network, generator, forget_bias=forget_bias)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=BETAS)
    begun, best, step = time.perf_counter(), 0.0, 0
    with network.threads():
        for step in range(1, STEPS_AT_MOST + 1):
            ids, symbols = batch(distance, LANES, generator)
            logits, _ = network(ids, network.empty_state(LANES))
            loss = functional.cross_entropy(logits[-1], symbols)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if step % CHECK_EVERY == 0:
                best = accuracy(network, distance, generator)
                if best >= SOLVED:
                    break
    return Recall(name, distance, seed, best, step, round(time.perf_counter() - begun, 1))


def recall(
    log: Path,
    distances: Sequence[int] = DISTANCES,
    seeds: int = SEEDS,
    networks: Sequence[str] = tuple(NETWORKS),
) -> Iterator[Recall]:
    """Yield every network, distance and seed; what is in the log already is not trained again."""
    kept = Kept(log, Recall)
    for name in networks:
        for before, distance in pairwise([0, *distances]):
            tried = [kept.get((name, before, seed)) for seed in range(seeds)]
            if before and distance > FARTHEST and not any(each and each.accuracy >= 0.5 for each in tried):
                break
            for seed in range(seeds):
                place = name, distance, seed
                yield kept.get(place) or kept.add(learn(*place))


def recall_table(results: list[Recall]) -> str:
    """Return the accuracies in Markdown: the middle seed, and how many seeds reach 99 %."""
    distances = sorted({each.distance for each in results})
    rows = []
    for name in dict.fromkeys(each.network for each in results):
        cells = []
        for distance in distances:
            found = [each.accuracy for each in results if (each.network, each.distance) == (name, distance)]
            solved = sum(value >= 0.99 for value in found)
            cells.append(f"{100 * np.median(found):.1f} %, {solved} of {len(found)}" if found else "-")
        rows.append([name, *cells])
    return markdown(["network", *map(str, distances)], rows)
