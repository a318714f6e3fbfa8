"""Sizes from a budget: a small rule that turns a config into a recipe.

The rule has one input, the compute C in FLOP that the budget allows: measured FLOP/s times seconds. Its constants are
fitted by eye to the runs listed in docs/experiments.md.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from nextchar.architecture import GATES, Architecture
from nextchar.config import DEFAULT_MINUTES, Config
from nextchar.errors import ConfigError
from nextchar.kernels.cores import memory_limit
from nextchar.recipe import Recipe
from nextchar.training.clock import training_seconds

# Beyond these, time is better spent on a larger network than on reading the text again.
MAX_SENSIBLE_EPOCHS = 8.0
SMALLEST, LARGEST = 64, 2048  # units per layer
VALIDATIONS = 8  # per run


@dataclass(frozen=True, slots=True)
class Sizes:
    """What depends on the compute.

    Attributes:
        hidden: H.
        batch_size: B.
        seq_length: T.
        weights: Weights that are multiplied for every character.
        trained: Characters to train on, counting repetitions.
    """

    hidden: int
    batch_size: int
    seq_length: int
    weights: int
    trained: float


def plan(config: Config, characters: int, vocabulary_size: int, flops: float = 0.0) -> Recipe:
    """Choose every option that is not set, and the number of steps.

    Args:
        config: With at most one budget; without one it is `DEFAULT_MINUTES`.
        characters: Length of the training part.
        vocabulary_size: V.
        flops: Speed of training in FLOP/s, from `measure_flops`; used only for a budget in minutes.
    """
    if config.steps is None and config.epochs is None:
        compute = flops * training_seconds(config.minutes or DEFAULT_MINUTES)
        sizes = _sizes(config, characters, vocabulary_size, compute, timed=True)
    elif config.epochs is not None:
        sizes = _sizes_for(config, characters, vocabulary_size, config.epochs * characters)
    else:
        # The characters of a step depend on the sizes, and the sizes on the characters: a few rounds settle both.
        sizes = _sizes(config, characters, vocabulary_size, 1e12)
        for _ in range(8):
            trained = float(config.steps or 1) * sizes.batch_size * sizes.seq_length
            sizes = _sizes_for(config, characters, vocabulary_size, trained)
    per_step = sizes.batch_size * sizes.seq_length
    if config.epochs is not None:
        steps = max(1, round(config.epochs * (characters // per_step)))
    else:
        steps = config.steps or max(1, round(sizes.trained / per_step))
    chosen = {
        **_regularization(sizes, characters),
        "hidden": sizes.hidden,
        "batch_size": sizes.batch_size,
        "seq_length": sizes.seq_length,
        "lr_decay": 0.97 if config.lr_schedule == "exponential" else 1.0,
        "eval_every": max(1, math.ceil(steps / VALIDATIONS)),
        "eval_chars": max(4096, min(1 << 15, int(0.01 * steps * per_step))),
        "kernels": "compiled",
    }
    budget = {"minutes": None, "epochs": None, "steps": steps}
    return Recipe.make({**chosen, **config.model_dump(exclude_none=True), **budget})


def most_steps(recipe: Recipe, characters: int) -> int:
    """Return after how many steps a budget in minutes ends early, because the text has been read often enough."""
    return max(1, round(most_epochs(characters) * characters / recipe.chars_per_step))


def _sizes_for(config: Config, characters: int, vocabulary_size: int, trained: float) -> Sizes:
    """Choose the sizes that the rule gives for the compute which they need for so many characters."""
    compute = 1e12
    for _ in range(20):
        sizes = _sizes(config, characters, vocabulary_size, compute)
        compute = math.sqrt(compute * 6 * sizes.weights * trained)
    return sizes


def _sizes(config: Config, characters: int, vocabulary_size: int, compute: float, *, timed: bool = False) -> Sizes:
    """Choose the sizes that are not set.

    Args:
        config: Options that are set are kept.
        characters: Length of the training part.
        vocabulary_size: V.
        compute: FLOP that the run may take.
        timed: Whether all of the compute is to be used, unless the text is too short for it.
    """
    squares = GATES[config.cell] * (2 * config.layers - 1)
    least = math.sqrt(compute / (6 * squares * MAX_SENSIBLE_EPOCHS * characters)) if timed else 0.0
    hidden = config.hidden or hidden_units(compute, characters, least)
    weights = matrix_weights(config, hidden, vocabulary_size)
    trained = compute / (6 * weights)
    if timed:
        trained = min(trained, most_epochs(characters) * characters)
    seq_length = config.seq_length or 64
    batch_size = config.batch_size or batch_rows(trained, seq_length)
    if config.seq_length is None:
        seq_length = max(1, min(seq_length, characters // max(batch_size, 1)))
    if config.batch_size is None:
        batch_size = max(1, min(batch_size, characters // seq_length))
    return Sizes(hidden, batch_size, seq_length, weights, trained)


def _regularization(sizes: Sizes, characters: int) -> dict[str, float]:
    """Choose dropout, weight decay and the learning rate."""
    epochs = sizes.trained / max(characters, 1)
    drop = dropout(epochs, sizes.weights / max(characters, 1))
    highest = highest_rate(sizes.hidden, sizes.batch_size * sizes.seq_length)
    rate = learning_rate(highest, epochs)
    chosen = {
        "dropout": drop,
        "recurrent_dropout": recurrent_dropout(drop),
        # AdamW multiplies the decay by the rate.
        "weight_decay": weight_decay(epochs) * highest / rate,
        "learning_rate": rate,
    }
    # To four digits, not places: a rate may be very small, but never 0.
    return {name: float(f"{value:.4g}") for name, value in chosen.items()}


def hidden_units(compute: float, characters: int, least: float = 0.0) -> int:
    """Return H, which divides the compute between weights and characters, limited by the length of the text.

    With a fourth root both would grow alike, as is best for transformers (Hoffmann et al. 2022, arXiv 2203.15556); short
    runs of these networks do better with a little more H.
    """
    wanted = max(least, 360 * (compute / 90e12) ** 0.2)
    worth = 640 * (characters / 1e6) ** 0.3
    return int(min(LARGEST, max(SMALLEST, round(min(wanted, worth) / 32) * 32)))


def batch_rows(trained: float, seq_length: int) -> int:
    """Return B: short runs need many small steps rather than few large ones."""
    per_step = min(4096.0, max(256.0, 1300 * math.sqrt(trained / 2e6)))
    return max(4, round(per_step / seq_length / 8) * 8)


def most_epochs(characters: int) -> float:
    """Return after how many epochs a text has nothing more to teach; a short one is memorized sooner."""
    return 64 * max(1.0, characters / 20_000) ** 0.3


def dropout(epochs: float, weights: float) -> float:
    """Return the dropout probability: more for more epochs, less if there are few weights to memorize the text with.

    Args:
        epochs: Passes over the text.
        weights: Per character of the text; from four on they do not limit.
    """
    often, few = math.log2(max(epochs, 1e-9)), math.log2(min(1.0, weights / 4))
    return min(0.7, max(0.0, 0.13 * often - 0.15 + 0.08 * few))


def recurrent_dropout(probability: float) -> float:
    """Return the dropout probability within the recurrence: low, until the other one is high."""
    return max(0.4 * probability, probability * probability)


def highest_rate(hidden: int, per_step: int) -> float:
    """Return the highest stable learning rate: lower for steps of few characters, with noisy gradients, and wide layers."""
    return 0.017 * min(1.0, math.sqrt(per_step / 2048)) * min(1.0, 512 / hidden)


def learning_rate(highest: float, epochs: float) -> float:
    """Return the peak: the highest rate for a text that is read 2.5 times or more, half of it for one read once."""
    return highest * 2 ** (min(1.0, max(0.0, epochs - 1.5)) - 1)


def weight_decay(epochs: float) -> float:
    """Return the decoupled weight decay; it, too, works against memorizing a text."""
    return max(0.05, min(0.04 * epochs, 0.2), min(0.008 * epochs, 0.5))


def matrix_weights(config: Config, hidden: int, vocabulary_size: int) -> int:
    """Count the weights that are multiplied for every character: 6 FLOP each to train."""
    rows = GATES[config.cell] * hidden
    first = config.embedding or vocabulary_size
    above = (config.layers - 1) * 2 * hidden
    return rows * (first + hidden + above) + hidden * vocabulary_size


def check_memory(shape: Architecture, chars_per_step: int, vocabulary_size: int) -> None:
    """Refuse a network that this machine's memory cannot hold.

    Raises:
        ConfigError: With the size needed and the size there is.
    """
    activations = shape.layers * chars_per_step * shape.hidden * (GATES[shape.cell] + 4)
    logits = 3 * chars_per_step * vocabulary_size
    needed = 4.0 * (4 * shape.parameters(vocabulary_size) + activations + logits)
    try:
        there = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), memory_limit(Path("/")))
    except (AttributeError, ValueError, OSError):
        return
    if needed > 0.9 * there:
        raise ConfigError(
            f"{shape.layers} layers of {shape.hidden} units and batches of {chars_per_step:,} characters need about "
            f"{needed / 2**30:,.1f} GiB, and this machine has {there / 2**30:,.1f}; make them smaller"
        )
