"""Measures how fast this machine trains, and with which kernels it is faster."""

import time
from typing import Literal

import numpy as np
import torch

from nextchar.model.network import Network
from nextchar.recipe import Recipe
from nextchar.text.batches import Batch
from nextchar.training.autosize import check_memory, matrix_weights
from nextchar.training.learner import Learner

PROBE_SECONDS = 0.7
OTHER_SECONDS = 0.3  # for the kernels that are usually slower
ADVANTAGE = 1.1  # of torch's kernels, below which ours are kept


def measure_flops(
    recipe: Recipe,
    vocabulary_size: int,
    device: torch.device,
    precision: str,
    seconds: float = PROBE_SECONDS,
) -> float:
    """Train a network that is thrown away, and return FLOP/s.

    Args:
        recipe: Sizes and kernels to measure.
        vocabulary_size: V.
        device: Where to train.
        precision: "fp32" or "bf16".
        seconds: To measure; at least three steps are made.
    """
    shape = recipe.architecture
    check_memory(shape, recipe.chars_per_step, vocabulary_size)
    # With dropout, as most runs have it.
    recipe = recipe.replace(dropout=0.1, recurrent_dropout=0.1)
    learner = Learner(Network(shape, vocabulary_size), recipe, device, precision)
    ids = np.zeros((recipe.seq_length, recipe.batch_size), np.int64)
    batch = Batch(ids, ids, np.zeros(recipe.batch_size, np.bool_), 0)
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        learner.step(batch, 1e-3, len(times))
        float(learner.norm)  # waits for the device
        times.append(time.perf_counter() - before)
    typical = sorted(times[1:])[len(times[1:]) // 2]
    return 6 * matrix_weights(recipe, shape.hidden, vocabulary_size) * recipe.chars_per_step / typical


def faster_kernels(
    recipe: Recipe, vocabulary_size: int, device: torch.device, precision: str
) -> tuple[Literal["compiled", "torch"], float]:
    """Measure ours, and torch's kernels where ours could be replaced; return the faster kind and its FLOP/s."""
    ours = measure_flops(recipe, vocabulary_size, device, precision)
    if not Network(recipe.architecture, vocabulary_size).to(device).is_compiled():
        return "torch", ours
    with_torch = recipe.replace(kernels="torch")
    theirs = measure_flops(with_torch, vocabulary_size, device, precision, OTHER_SECONDS)
    return ("torch", theirs) if theirs > ADVANTAGE * ours else ("compiled", ours)
