"""What units have to do with each other, with what is read, and with what is predicted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.inspection.trace import Floats
from nextchar.model.network import Network
from nextchar.model.reading import Chunk, Reader

BLOCK = 2048  # characters that are turned into floating point at a time


def correlations(parts: Sequence[npt.NDArray[Any]], chosen: Sequence[int]) -> Floats:
    """Correlate some units with all.

    Args:
        parts: Consecutive values of all A units, `(T, A)` each, of any type.
        chosen: C of them.

    Returns:
        Pearson's r, `(C, A)`; 0 where one of the two never moves.
    """
    columns, count = list(chosen), sum(map(len, parts))
    units = parts[0].shape[1]
    sums, squares, products = np.zeros(units), np.zeros(units), np.zeros((len(columns), units))
    center = parts[0].mean(0, dtype=np.float64).astype(np.float32)
    for part in parts:
        for begin in range(0, len(part), BLOCK):
            away = part[begin : begin + BLOCK].astype(np.float32) - center
            sums += away.sum(0, dtype=np.float64)
            squares += np.einsum("tu,tu->u", away, away)
            products += away[:, columns].T @ away
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    scale = deviation[columns, None] * deviation
    covariance = products / count - mean[columns, None] * mean
    return np.where(scale > 1e-9, covariance / np.maximum(scale, 1e-9), 0.0).clip(-1, 1)


def in_likeness(correlation: Floats) -> list[int]:
    """Order units by their correlations `(C, C)`, each followed by the one left that is most like it."""
    order, left = [0], set(range(1, len(correlation)))
    while left:
        last = correlation[order[-1]]
        order.append(max(sorted(left), key=lambda unit: float(last[unit])))
        left.remove(order[-1])
    return order


def direct_effect(network: Network, layer: int) -> Floats | None:
    """Return how much 1 more of each unit's h adds to each logit directly, `(V, H)`, the mean over characters taken off.

    Directly: by the head alone, not by what other units and later characters make of it. A constant on all logits changes
    no probability. None for a layer that the head does not read.
    """
    shape = network.architecture
    if not shape.sum_outputs and layer < shape.layers - 1:
        return None
    weight: Floats = network.head.weight.detach().float().cpu().numpy()
    return weight - weight.mean(0)


def alone(network: Network) -> dict[str, Floats]:
    """Return what each character alone makes of the first layer, from the empty state, by signal, `(V, H)`.

    Of a gate that is the sigmoid of W x + b: what opens and what shuts it, whatever came before.
    """
    size, signals = network.vocabulary_size, dict[str, Floats]()

    def visit(seen: Chunk) -> None:
        signals.update({name: values[0].float().cpu().numpy() for name, values in seen.layers[0].items()})

    Reader(network, record=True).read(np.arange(size)[None], network.empty_state(size), visit)
    return signals
