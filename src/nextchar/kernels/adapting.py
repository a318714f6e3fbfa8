"""One step of dynamic evaluation over a flat array of weights: every number is read once."""

from typing import Any

import numpy as np

from nextchar.kernels.microkernel import compiled


@compiled
def fall_back_and_step(weights: Any, trained: Any, gradient: Any, usual: Any, settings: Any) -> None:
    """Move weights towards what was trained, and against their gradient over its usual size.

    Args:
        weights: `(W,)` float32, set.
        trained: `(W,)`, where they fall back to.
        gradient: `(W,)`.
        usual: `(W,)`, the root mean square of each gradient.
        settings: `(3,)` float32: the share of the way back for a usual size of 1, the learning rate, and what is added
            to the usual sizes.
    """
    pull, rate, floor = settings[0], settings[1], settings[2]
    for index in range(len(weights)):
        back = min(np.float32(1), pull * usual[index])
        weights[index] += back * (trained[index] - weights[index])
        weights[index] -= rate * gradient[index] / (usual[index] + floor)
