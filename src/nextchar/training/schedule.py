"""What depends on the step: the learning rate (warm-up, hold, fall to zero), and when to look at a sample."""

import math

from nextchar.config import Config


def factor(step: int, epoch: int, config: Config, *, begin: int, steps: int) -> float:
    """Return what the peak learning rate is multiplied with at a step.

    Args:
        step: Counted from 0.
        epoch: Passes over the text before it.
        config: `warmup`, `hold`, `fall`, `decay` and `decay_after`.
        begin: The step at which this budget began; later than 0 where a finished run goes on.
        steps: The step at which it ends.

    Up to `hold` of the run, the value does not depend on `steps`: so long, the end can still be moved without
    changing what has been done.
    """
    done = step - begin
    warm = min(1.0, (done + 1) / config.warmup) if config.warmup else 1.0
    progress = done / max(steps - begin, 1)
    fall = (progress - config.hold) / (1 - config.hold) if progress > config.hold else 0.0
    epochs = max(0, epoch - config.decay_after + 1)
    left = 0.5 * (1 + math.cos(math.pi * min(fall, 1.0))) if config.fall == "cosine" else 1 - min(fall, 1.0)
    return float(warm * left * config.decay**epochs)


def is_sample_step(step: int) -> bool:
    """Tell whether a step is on the log schedule 10, 20, 30, 50, 70, 100, 200, 300 and so on."""
    if step < 10:
        return False
    digits = str(step)
    return digits[0] in "12357" and not digits[1:].strip("0")
