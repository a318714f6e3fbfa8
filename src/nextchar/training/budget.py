"""From a budget to sizes and steps: what nobody should have to choose, chosen by a small rule.

The rule has one input, the compute C in FLOP that the budget buys: FLOP/s measured on this machine times seconds. The
constants are a fit by eye to the runs listed in docs/experiments.md.
"""

import math
import os
import time
from dataclasses import dataclass

import numpy as np
import torch

from nextchar.architecture import GATES
from nextchar.config import DEFAULT_MINUTES, Config
from nextchar.errors import ConfigError
from nextchar.model.network import Network
from nextchar.text.batches import Batch
from nextchar.training.learner import Learner

PROBE_SECONDS = 0.7
OFTEN = 8.0  # epochs beyond which time is better spent on a larger network than on reading the text again
SMALLEST, LARGEST = 64, 2048
VALIDATIONS = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a budget comes to: a config without gaps, and the steps.

    Attributes:
        config: Nothing in it is open.
        steps: To make; an estimate where the budget is minutes.
        most: Steps after which a budget in minutes ends early, as the text has nothing more to teach.
    """

    config: Config
    steps: int
    most: int


def plan(config: Config, characters: int, vocabulary_size: int, flops: float) -> Plan:
    """Fill in what the config leaves open.

    Args:
        config: With at most one budget.
        characters: Length of the training part.
        vocabulary_size: V.
        flops: FLOP/s of the machine, from `measure_flops`; used where the budget is minutes.

    Returns:
        The complete config, the number of steps, and the most that the text is worth.
    """
    if config.steps is None and config.epochs is None:
        minutes = config.minutes or DEFAULT_MINUTES
        compute = flops * training_seconds(minutes)
        sized, trained = _size(config, characters, vocabulary_size, compute, timed=True)
    elif config.epochs is not None:
        trained = config.epochs * characters
        sized = _size_for(config, characters, vocabulary_size, trained)
    else:
        # A step's characters depend on the size and the size on the characters: a few rounds settle it.
        sized, _ = _size(config, characters, vocabulary_size, 1e12)
        for _ in range(8):
            trained = float(config.steps or 1) * step_chars(sized)
            sized = _size_for(config, characters, vocabulary_size, trained)
    per_step = step_chars(sized)
    if config.epochs is not None:
        steps = max(1, round(config.epochs * (characters // per_step)))
    else:
        steps = config.steps or max(1, round(trained / per_step))
    changes = {
        "eval_every": config.eval_every or max(1, math.ceil(steps / VALIDATIONS)),
        "eval_chars": config.eval_chars or max(4096, min(1 << 15, int(0.01 * steps * per_step))),
    }
    most = most_epochs(characters) * characters
    return Plan(sized.replace(**changes), steps, max(1, round(most / per_step)))


def training_seconds(minutes: float) -> float:
    """Return what is left of a budget for steps: starting, validating and scoring take the rest."""
    return max(30 * minutes, 55 * minutes - 5)


def scored_last(trained: int) -> int:
    """Return how many characters the score at the end may read, so that it takes some percent of the time."""
    return max(16_384, min(trained // 20, 131_072), trained // 40)


def _size_for(config: Config, characters: int, vocabulary_size: int, trained: float) -> Config:
    """Choose the size whose compute for so many characters is the compute the size is for."""
    compute = 1e12
    for _ in range(20):
        sized, _ = _size(config, characters, vocabulary_size, compute)
        compute = math.sqrt(compute * 6 * matrix_weights(sized, vocabulary_size) * trained)
    return sized


def _size(
    config: Config, characters: int, vocabulary_size: int, compute: float, *, timed: bool = False
) -> tuple[Config, float]:
    """Choose what is open of H, dropout, lanes, window, learning rate and weight decay; return characters trained too.

    Args:
        config: What is given stays.
        characters: Length of the training part.
        vocabulary_size: V.
        compute: FLOP that the run may take.
        timed: Whether it may take no less either, unless the text has nothing more to teach.
    """
    shape = config.replace(hidden=1).architecture()
    squares = GATES[shape.cell] * (2 * shape.layers - 1)
    often = math.sqrt(compute / (6 * squares * OFTEN * characters)) if timed else 0.0
    hidden = config.hidden or hidden_units(compute, characters, often)
    sized = config.replace(hidden=hidden)
    weights = matrix_weights(sized, vocabulary_size)
    trained = compute / (6 * weights)
    if timed:
        trained = min(trained, most_epochs(characters) * characters)
    window = config.seq_length or 64
    lanes = config.batch_size or lane_count(trained, window)
    if config.seq_length is None:
        window = max(1, min(window, characters // max(lanes, 1)))
    if config.batch_size is None:
        lanes = max(1, min(lanes, characters // window))
    epochs = trained / max(characters, 1)
    drop = dropout(epochs, weights / max(characters, 1))
    highest = highest_rate(hidden, lanes * window)
    rate = learning_rate(highest, epochs)
    chosen = {
        "dropout": drop,
        "recurrent_dropout": recurrent_dropout(drop),
        # AdamW multiplies the decay by the rate.
        "weight_decay": weight_decay(epochs) * highest / rate,
        "learning_rate": rate,
    }
    given = sized.model_dump()
    # To four digits, not places: a rate may be very small, but never 0.
    open_ = {name: float(f"{value:.4g}") for name, value in chosen.items() if given[name] is None}
    return sized.replace(batch_size=lanes, seq_length=window, **open_), trained


def hidden_units(compute: float, characters: int, least: float = 0.0) -> int:
    """Return H, which shares the compute out between weights and characters, as long as the text is worth it.

    With a fourth root both would grow alike, as transformers want it (Hoffmann et al. 2022, arXiv 2203.15556); short runs
    here want a little more of H than that.
    """
    wanted = max(least, 360 * (compute / 90e12) ** 0.2)
    worth = 640 * (characters / 1e6) ** 0.3
    return int(min(LARGEST, max(SMALLEST, round(min(wanted, worth) / 32) * 32)))


def lane_count(trained: float, window: int) -> int:
    """Return N: a short run needs many small steps more than it needs wide ones."""
    per_step = min(4096.0, max(256.0, 1300 * math.sqrt(trained / 2e6)))
    return max(4, round(per_step / window / 8) * 8)


def most_epochs(characters: int) -> float:
    """Return how often a text is worth reading: a short one is known by heart sooner."""
    return 64 * max(1.0, characters / 20_000) ** 0.3


def dropout(epochs: float, weights: float) -> float:
    """Return the share to drop: more, the more often a text is read, and less, if there are few weights to learn it by heart.

    Args:
        epochs: How often.
        weights: For each character of the text; from four on they are enough.
    """
    often, few = math.log2(max(epochs, 1e-9)), math.log2(min(1.0, weights / 4))
    return min(0.7, max(0.0, 0.13 * often - 0.15 + 0.08 * few))


def recurrent_dropout(share: float) -> float:
    """Return the share of hidden units that a layer does not see of itself: little, until the other dropout is high."""
    return max(0.4 * share, share * share)


def highest_rate(hidden: int, per_step: int) -> float:
    """Return the most a network bears: less in steps of few characters, whose gradients are rough, and in wide layers."""
    return 0.017 * min(1.0, math.sqrt(per_step / 2048)) * min(1.0, 512 / hidden)


def learning_rate(highest: float, epochs: float) -> float:
    """Return the peak: the highest for a text that is read two or three times, half of it for one that is read once."""
    return highest * 2 ** (min(1.0, max(0.0, epochs - 1.5)) - 1)


def weight_decay(epochs: float) -> float:
    """Return the decoupled weight decay: it, too, keeps a network from learning a text by heart."""
    return max(0.05, min(0.04 * epochs, 0.2), min(0.008 * epochs, 0.5))


def step_chars(config: Config) -> int:
    """Return N times T, chosen by now."""
    return (config.batch_size or 1) * (config.seq_length or 1)


def matrix_weights(config: Config, vocabulary_size: int) -> int:
    """Count the weights that are multiplied for every character: 6 FLOP each to train."""
    shape = config.architecture()
    rows = GATES[shape.cell] * shape.hidden
    first = shape.embedding or vocabulary_size
    above = (shape.layers - 1) * 2 * shape.hidden
    return rows * (first + shape.hidden + above) + shape.hidden * vocabulary_size


def check_memory(config: Config, vocabulary_size: int) -> None:
    """Refuse a size that this machine's memory cannot hold.

    Raises:
        ConfigError: With both sizes.
    """
    shape = config.architecture()
    activations = shape.layers * step_chars(config) * shape.hidden * (GATES[shape.cell] + 4)
    logits = 3 * step_chars(config) * vocabulary_size
    needed = 4.0 * (4 * shape.parameters(vocabulary_size) + activations + logits)
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if needed > 0.9 * there:
        raise ConfigError(
            f"{shape.layers} layers of {shape.hidden} units, {config.batch_size} lanes and windows of "
            f"{config.seq_length} need about {needed / 2**30:,.1f} GiB, and this machine has {there / 2**30:,.1f}; "
            f"make them smaller"
        )


def measure_flops(config: Config, vocabulary_size: int, device: torch.device, precision: str) -> float:
    """Train a throw-away network for less than a second; return FLOP/s.

    Args:
        config: Its cell, layers and embedding are used; H is 320 and N 16 where they are still open.
        vocabulary_size: V.
        device: Where to train.
        precision: "fp32" or "bf16".
    """
    lanes, window = config.batch_size or 16, config.seq_length or 64
    sized = config.replace(
        hidden=config.hidden or 320,
        batch_size=lanes,
        seq_length=window,
        dropout=0.1,
        recurrent_dropout=0.1,
        learning_rate=1e-3,
        weight_decay=0.1,
    )
    check_memory(sized, vocabulary_size)
    learner = Learner(Network(sized.architecture(), vocabulary_size), sized, device, precision)
    ids = np.zeros((window, lanes), np.int64)
    batch = Batch(ids, ids, np.zeros(lanes, np.bool_), 0)
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begun < PROBE_SECONDS:
        before = time.perf_counter()
        learner.step(batch, 1e-3, len(times))
        float(learner.norm)  # waits for the device
        times.append(time.perf_counter() - before)
    typical = sorted(times[1:])[len(times[1:]) // 2]
    return 6 * matrix_weights(sized, vocabulary_size) * lanes * window / typical


class Clock:
    """Keeps a budget in minutes: moves the last step while the learning rate does not depend on it yet.

    After that the end stands, so that the run can be repeated exactly; only a run that would go more than 6 % over
    its time is cut short.
    """

    REVIEWS = (0.03, 0.06, 0.12, 0.2, 0.27)
    PATIENCE = 1.06

    def __init__(self, minutes: float, spent: float) -> None:
        self._budget = minutes * 60
        self._begun = time.monotonic() - spent
        self._reviews = list(self.REVIEWS)
        self._first: tuple[int, float] | None = None

    def seconds(self) -> float:
        """Return the seconds used so far."""
        return time.monotonic() - self._begun

    def review(
        self, step: int, steps: int, *, training_seconds: float, later: float, hold: float
    ) -> int | None:
        """Return a better number of steps, at a few moments early in the run.

        Args:
            step: Steps done.
            steps: Steps planned so far.
            training_seconds: Seconds that they took, validations left out.
            later: Seconds that validations and the end will still take.
            hold: Share of the run at a constant learning rate; only there the end may move.
        """
        # By steps as well as by time: a first guess may be too low by any factor.
        done = max(self.seconds() / self._budget, step / steps)
        if step > hold * steps or not self._reviews or done < self._reviews[0]:
            return None
        self._reviews.pop(0)
        if self._first is None:
            # The first steps pay for warming up, so the rate is taken from here on.
            self._first = (step, training_seconds)
            return None
        steps, seconds = step - self._first[0], training_seconds - self._first[1]
        if not steps or seconds <= 0:
            return None
        total = step + max(0, round((self._budget - self.seconds() - later) * steps / seconds))
        return max(total, math.ceil(step / hold), 1)

    def over(self, ending: float) -> bool:
        """Tell whether the run must be cut short, with `ending` seconds to go after its last step."""
        return self.seconds() + ending > self.PATIENCE * self._budget
