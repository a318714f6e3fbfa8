"""From logits to the distribution that is drawn from; every filter is the identity at its neutral setting.

Distributions are float64 `(V,)`, sum to one, and are not modified.
"""

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float64]


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Probabilities:
    """Return p ~ exp(logits / temperature); temperature 0 puts all on the largest (the first of equals)."""
    if temperature == 0:
        chosen = np.zeros(len(logits))
        chosen[np.argmax(logits)] = 1.0
        return chosen
    scaled = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # colder than a float can tell from 0: minus infinity is right
        scaled = (scaled - scaled.max()) / temperature
    weights = np.exp(scaled)
    return weights / weights.sum()


def log_softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return log p over the last axis, in nats."""
    wide = logits.astype(np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def top_k(p: Probabilities, k: int) -> Probabilities:
    """Keep the k most likely (Fan et al. 2018); 0 keeps all. Of equals at the edge, the first."""
    if not 0 < k < len(p):
        return p
    return _keep(p, np.argsort(-p, kind="stable")[:k])


def top_p(p: Probabilities, share: float) -> Probabilities:
    """Keep the fewest most likely that together reach `share` (Holtzman et al. 2020); 1 keeps all."""
    if share >= 1:
        return p
    order = np.argsort(-p, kind="stable")
    reached = np.cumsum(p[order])
    return _keep(p, order[: int(np.searchsorted(reached, share)) + 1])


def min_p(p: Probabilities, share: float) -> Probabilities:
    """Keep what is at least `share` times as likely as the most likely (Nguyen et al. 2024); 0 keeps all."""
    return _keep(p, np.flatnonzero(p >= share * p.max())) if share > 0 else p


def _keep(p: Probabilities, chosen: npt.NDArray[np.intp]) -> Probabilities:
    kept = np.zeros_like(p)
    kept[chosen] = p[chosen]
    return kept / kept.sum()


def draw(p: Probabilities, uniform: float) -> int:
    """Return the id at which the cumulative distribution passes a number from [0, 1)."""
    reached = np.cumsum(p)
    return min(int(np.searchsorted(reached, uniform * reached[-1], side="right")), int(np.flatnonzero(p)[-1]))
