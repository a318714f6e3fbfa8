"""Measures how fast this machine trains, and with which kernels it is faster."""

import time
from collections.abc import Callable
from statistics import median
from typing import Literal

import numpy as np
import torch

from nextchar.model.network import Network, initialize
from nextchar.recipe import Recipe
from nextchar.text.batches import Batch
from nextchar.training.autosize import check_memory, matrix_weights
from nextchar.training.learner import Learner
from nextchar.training.ranks import ALONE, Ranks

PROBE_SECONDS = 0.7
OTHER_SECONDS = 0.3  # for the kernels that are usually slower
ADVANTAGE = 1.1  # of torch's kernels, below which ours are kept


def seconds_each(work: Callable[[], object], seconds: float, at_least: int = 3, ranks: Ranks = ALONE) -> float:
    """Return the median duration of a function in seconds, over repeated calls after a warm-up call.

    Several processes call it equally often, and return what the first measured.
    """
    work()
    durations: list[float] = []
    begin = time.perf_counter()
    while ranks.agree(len(durations) < at_least or time.perf_counter() - begin < seconds)[0][0]:
        before = time.perf_counter()
        work()
        durations.append(time.perf_counter() - before)
    return ranks.agree(median(durations))[0][0]


def training_step(
    recipe: Recipe, vocabulary_size: int, device: torch.device, precision: str, ranks: Ranks = ALONE
) -> Callable[[], object]:
    """Return a function that does one training step of a network with random weights, on a random text.

    Args:
        recipe: Sizes, optimization and kernels.
        vocabulary_size: V.
        device: Where to train.
        precision: "fp32" or "bf16".
        ranks: The processes that make the step together.
    """
    network = Network(recipe.architecture, vocabulary_size)
    initialize(network, torch.Generator().manual_seed(0), how="uniform")
    learner = Learner(network, recipe, device, precision, ranks)
    ids = np.random.default_rng(0).integers(0, vocabulary_size, (recipe.seq_length, recipe.batch_size))
    batch = Batch(ids, ids, np.zeros(recipe.batch_size, np.bool_), 0)

    def step() -> None:
        learner.step(batch, 1e-3, 0)
        float(learner.norm)  # waits for the device

    return step


def measure_flops(
    recipe: Recipe,
    vocabulary_size: int,
    device: torch.device,
    precision: str,
    seconds: float = PROBE_SECONDS,
    ranks: Ranks = ALONE,
) -> float:
    """Measure the speed of training in FLOP/s.

    Args:
        recipe: Sizes and kernels to measure.
        vocabulary_size: V.
        device: Where to train.
        precision: "fp32" or "bf16".
        seconds: To measure; at least three steps are made, of which the first is not counted.
        ranks: The processes that train together; the others measure, too, by an order of the first.
    """
    shape = recipe.architecture
    check_memory(shape, recipe.chars_per_step, vocabulary_size)
    # With dropout, as most runs have it.
    recipe = recipe.replace(dropout=0.1, recurrent_dropout=0.1)
    if ranks.leads:
        config = recipe.model_dump(exclude_none=True, mode="json") | {"device": device.type, "precision": precision}
        ranks.broadcast({"do": "measure", "config": config, "vocabulary_size": vocabulary_size, "seconds": seconds})
    step = training_step(recipe, vocabulary_size, device, precision, ranks)
    each = seconds_each(step, seconds, at_least=2, ranks=ranks)
    return 6 * matrix_weights(recipe, shape.hidden, vocabulary_size) * recipe.chars_per_step / each


def faster_kernels(
    recipe: Recipe, vocabulary_size: int, device: torch.device, precision: str, ranks: Ranks = ALONE
) -> tuple[Literal["compiled", "torch"], float]:
    """Measure ours, and torch's kernels where ours could be replaced; return the faster kind and its FLOP/s."""
    ours = measure_flops(recipe, vocabulary_size, device, precision, ranks=ranks)
    if not Network(recipe.architecture, vocabulary_size).to(device).is_compiled():
        return "torch", ours
    with_torch = recipe.replace(kernels="torch")
    theirs = measure_flops(with_torch, vocabulary_size, device, precision, OTHER_SECONDS, ranks)
    return ("torch", theirs) if theirs > ADVANTAGE * ours else ("compiled", ours)
