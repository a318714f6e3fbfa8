"""What depends on the step: the learning rate, and at which steps a sample is drawn."""

import math

from nextchar.config import Config


def lr_factor(step: int, epoch: int, config: Config, *, begin: int, steps: int) -> float:
    """Return the factor on the peak learning rate at a step.

    Args:
        step: Counted from 0.
        epoch: Passes over the text before it.
        config: `warmup` and the options that begin with `lr_`.
        begin: The step at which this budget began; above 0 where a finished run is continued.
        steps: The step at which it ends.

    During the first `hold_fraction` of the run the value does not depend on `steps`: until then the end can be moved
    without changing what has been done.
    """
    done = step - begin
    warm = min(1.0, (done + 1) / config.warmup) if config.warmup else 1.0
    progress, hold = done / max(steps - begin, 1), hold_fraction(config)
    fallen = min(1.0, (progress - hold) / (1 - hold)) if progress > hold else 0.0
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if config.lr_schedule == "cosine" else 1 - fallen
    epochs = max(0, epoch - config.lr_decay_after + 1)
    return float(warm * left * lr_decay(config) ** epochs)


def hold_fraction(config: Config) -> float:
    """Return the fraction of the run before the learning rate falls to zero; 1 where it never does."""
    return config.lr_hold if config.lr_schedule in {"linear", "cosine"} else 1.0


def lr_decay(config: Config) -> float:
    """Return the factor on the learning rate per epoch."""
    return config.lr_decay or (0.97 if config.lr_schedule == "exponential" else 1.0)


def is_sample_step(step: int) -> bool:
    """Return whether a sample is drawn after a step: 10, 20, 30, 50, 70, 100, 200, 300, 500 and so on."""
    if step < 10:
        return False
    digits = str(step)
    return digits[0] in "12357" and not digits[1:].strip("0")
