"""Relations of units with each other, with the characters that are read, and with the predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.inspection.summary import LayerSummary
from nextchar.inspection.trace import Floats
from nextchar.model.network import Network
from nextchar.model.reading import Chunk, Reader

BLOCK = 2048  # characters that are converted to floating point at a time


def correlations(parts: Sequence[npt.NDArray[Any]], chosen: Sequence[int]) -> Floats:
    """Return the correlations of some units with all.

    Args:
        parts: Consecutive values of all A units, `(T, A)` each, of any type.
        chosen: C of them.

    Returns:
        Pearson's r, `(C, A)`; 0 if one of the two is constant.
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
    """Order units by their correlations `(C, C)`, each followed by the remaining one that is most similar to it."""
    order, left = [0], set(range(1, len(correlation)))
    while left:
        last = correlation[order[-1]]
        order.append(max(sorted(left), key=lambda unit: float(last[unit])))
        left.remove(order[-1])
    return order


def direct_effect(network: Network, layer: int) -> Floats | None:
    """Return how much an increase of each unit's h by 1 adds to each logit directly, `(V, H)`, minus the mean over ids.

    Directly means through the output layer alone, not through other units and later characters. A constant added to all
    logits changes no probability. None for a layer that the output layer does not read.
    """
    shape = network.architecture
    if not shape.sum_outputs and layer < shape.layers - 1:
        return None
    weight: Floats = network.head.weight.detach().float().cpu().numpy()
    return weight - weight.mean(0)


def by_importance(network: Network, layers: Mapping[int, LayerSummary]) -> list[tuple[int, int]]:
    """Return all units, as layer and unit, by what they contribute on average, the largest first.

    A unit's contribution is the norm of its weights to the output layer (to the next layer, if the output layer does not
    read its own) times the standard deviation of its h.
    """
    found = []
    for layer, summary in layers.items():
        effect = direct_effect(network, layer)
        if effect is None:
            following: Any = network.layers[layer + 1]
            effect = following.weight_ih.detach().float().cpu().numpy()
        sizes = np.linalg.norm(effect, axis=0)[list(summary.units)] * np.sqrt(summary.variance("h"))
        found += [(-float(size), layer, unit) for size, unit in zip(sizes, summary.units, strict=True)]
    return [(layer, unit) for _, layer, unit in sorted(found)]


def alone(network: Network) -> dict[str, Floats]:
    """Return the signals of the first layer after each character alone, from the empty state, `(V, H)`.

    For a gate that is the sigmoid of W x + b: which characters open and close it, independent of the context.
    """
    size, signals = network.vocabulary_size, dict[str, Floats]()

    def visit(seen: Chunk) -> None:
        signals.update({name: values[0].float().cpu().numpy() for name, values in seen.layers[0].items()})

    Reader(network, record=True).read(np.arange(size)[None], network.empty_state(size), visit)
    return signals
