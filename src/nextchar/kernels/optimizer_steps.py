"""Updates of a flat array of weights, for training and dynamic evaluation, that read every number only once."""

from typing import Any

import numpy as np

from nextchar.kernels.gemm import compiled


@compiled
def rms_decay_update(weights: Any, trained: Any, gradient: Any, usual: Any, settings: Any) -> None:
    """Move weights towards their trained values, and against their gradient divided by its usual size.

    Args:
        weights: `(W,)` float32, set.
        trained: `(W,)`, the trained values.
        gradient: `(W,)`.
        usual: `(W,)`, the root mean square of each gradient.
        settings: `(3,)` float32: the fraction of the way back at a usual size of 1, the learning rate, and a constant
            added to the usual sizes.
    """
    pull, rate, floor = settings[0], settings[1], settings[2]
    for index in range(len(weights)):
        back = min(np.float32(1), pull * usual[index])
        weights[index] += back * (trained[index] - weights[index])
        weights[index] -= rate * gradient[index] / (usual[index] + floor)


@compiled
def cautious_adam_direction(gradient: Any, mean: Any, square: Any, settings: Any) -> int:
    """Update Adam's running means with a gradient; set it to Adam's step, or to 0 where the signs of both differ.

    Args:
        gradient: `(W,)` float32, set.
        mean: `(W,)`, the running mean of gradients, set.
        square: `(W,)`, the running mean of their squares, set.
        settings: `(5,)` float32: beta1, beta2, the two bias corrections, and epsilon.

    Returns:
        How many weights move.
    """
    beta1, beta2, first, second, epsilon = settings[0], settings[1], settings[2], settings[3], settings[4]
    moving = 0
    for index in range(len(gradient)):
        slope = gradient[index]
        mean[index] = beta1 * mean[index] + (np.float32(1) - beta1) * slope
        square[index] = beta2 * square[index] + (np.float32(1) - beta2) * slope * slope
        step = (mean[index] / first) / (np.sqrt(square[index] / second) + epsilon)
        agrees = step * slope >= 0  # a gradient of 0, as of a character that does not occur, agrees
        moving += agrees
        gradient[index] = step if agrees else np.float32(0)
    return moving
