"""How far back a recurrent network can learn: gradient norm against distance, and recall of one symbol."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cache import ResultLog
from nextchar.architecture import Architecture, Cell
from nextchar.model.cells import STEPS, Weights
from nextchar.model.network import Network, initialize
from nextchar.model.reading import Reader
from tables import markdown

HIDDEN, BATCH_SIZE = 64, 64
SYMBOLS, DISTRACTORS = 8, 8
QUESTION = SYMBOLS + DISTRACTORS
DISTANCES = (5, 10, 20, 40, 80, 100, 160)
FARTHEST = 80  # beyond it, a network is tried only if one seed succeeded at the distance before
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
    """Return the norm of the gradient k steps before the last one, relative to k = 0, for k from 0 to `distance`.

    The network is untrained and reads random characters; the norm is that of d loss / d c (d h for an rnn), averaged
    over a batch of 32.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Network(Architecture(cell=cell, layers=1, hidden=hidden, embedding=64), 64)
    initialize(network, generator, forget_bias=forget_bias)
    layer = network.layers[0]
    assert isinstance(layer, torch.nn.ParameterDict)
    inputs = network.embedding(torch.randint(64, (distance + 1, 32), generator=generator))
    state = tuple(torch.zeros(32, hidden) for _ in range(2 if cell == "lstm" else 1))
    states = []
    for x in inputs:
        state, _ = STEPS[cell](x, state, Weights(**layer))
        carried = state[-1].requires_grad_()
        carried.retain_grad()
        states.append(carried)
    # An untrained head hardly distinguishes characters, so a random vector stands for the gradient of the loss.
    (state[0] * torch.randn(32, hidden, generator=generator)).sum().backward()  # type: ignore[no-untyped-call]
    norms = [float(each.grad.norm(dim=1).mean()) for each in reversed(states) if each.grad is not None]
    return [norm / norms[0] for norm in norms]


@dataclass(frozen=True, slots=True)
class Recall:
    """The accuracy of one network at recalling a symbol across some distractors."""

    network: str
    distance: int
    seed: int
    accuracy: float
    steps: int
    seconds: float

    @property
    def key(self) -> tuple[str, int, int]:
        """What identifies the result."""
        return self.network, self.distance, self.seed


def batch(distance: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return texts `(distance + 2, B)` of a symbol, distractors and the question; and the symbols `(B,)`."""
    symbol = torch.randint(SYMBOLS, (1, size), generator=generator)
    between = torch.randint(SYMBOLS, QUESTION, (distance, size), generator=generator)
    return torch.cat([symbol, between, torch.full((1, size), QUESTION)]), symbol[0]


def accuracy(network: Network, distance: int, generator: torch.Generator) -> float:
    """Return the share of 1,024 new texts whose symbol is recalled."""
    ids, symbols = batch(distance, CHECKED, generator)
    guesses: list[Tensor] = []
    Reader(network).read(
        ids.numpy(), network.empty_state(CHECKED), lambda chunk: guesses.append(chunk.logits[-1].argmax(1))
    )
    return float((guesses[-1] == symbols).float().mean())


def learn(name: str, distance: int, seed: int) -> Recall:
    """Train one network of 64 units until it recalls the symbol, for at most 1,200 steps of 64 texts."""
    cell, forget_bias = NETWORKS[name]
    generator = torch.Generator().manual_seed(1000 * seed + distance)
    network = Network(Architecture(cell=cell, layers=1, hidden=HIDDEN, embedding=32), QUESTION + 1)
    initialize(network, generator, forget_bias=forget_bias)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, betas=BETAS)
    begin, best, step = time.perf_counter(), 0.0, 0
    with network.threads():
        for step in range(1, STEPS_AT_MOST + 1):
            ids, symbols = batch(distance, BATCH_SIZE, generator)
            logits, _ = network(ids, network.empty_state(BATCH_SIZE))
            loss = functional.cross_entropy(logits[-1], symbols)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if step % CHECK_EVERY == 0:
                best = accuracy(network, distance, generator)
                if best >= SOLVED:
                    break
    return Recall(name, distance, seed, best, step, round(time.perf_counter() - begin, 1))


def recall(
    log: Path, distances: Sequence[int] = DISTANCES, seeds: int = SEEDS, networks: Sequence[str] = tuple(NETWORKS)
) -> Iterator[Recall]:
    """Yield every network, distance and seed; results in the log are not made again."""
    results = ResultLog(log, Recall)
    for name in networks:
        for before, distance in pairwise([0, *distances]):
            tried = [results.get((name, before, seed)) for seed in range(seeds)]
            if before and distance > FARTHEST and not any(each and each.accuracy >= 0.5 for each in tried):
                break
            for seed in range(seeds):
                key = name, distance, seed
                yield results.get(key) or results.add(learn(*key))


def recall_table(results: list[Recall]) -> str:
    """Return a table of accuracies: the median over seeds, and how many seeds reach 99 %."""
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
