"""What depends on the step: the learning rate, and at which steps a sample is drawn."""

import math

from nextchar.recipe import Recipe


def lr_factor(step: int, epoch: int, recipe: Recipe, *, begin: int) -> float:
    """Return the factor on the peak learning rate at a step.

    Args:
        step: Counted from 0.
        epoch: Passes over the text before it.
        recipe: `warmup`, `steps` and the options that begin with `lr_`.
        begin: The step at which this budget began; above 0 where a finished run is continued.

    During the first `hold_fraction` of the run the value does not depend on `recipe.steps`: until then the end can be moved
    without changing what has been done.
    """
    done = step - begin
    warm = min(1.0, (done + 1) / recipe.warmup) if recipe.warmup else 1.0
    progress, hold = done / max(recipe.steps - begin, 1), recipe.hold_fraction
    fallen = min(1.0, (progress - hold) / (1 - hold)) if progress > hold else 0.0
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if recipe.lr_schedule == "cosine" else 1 - fallen
    epochs = max(0, epoch - recipe.lr_decay_after + 1)
    return float(warm * left * recipe.lr_decay**epochs)


def is_sample_step(step: int) -> bool:
    """Return whether a sample is drawn after a step: 10, 20, 30, 50, 70, 100, 200, 300, 500 and so on."""
    if step < 10:
        return False
    digits = str(step)
    return digits[0] in "12357" and not digits[1:].strip("0")
