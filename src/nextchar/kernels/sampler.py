"""Chooses the next character: from logits to the weights that are drawn from, and the draw itself.

Temperature first, then top-k, top-p and min-p, each of which takes away unlikely ones and is the identity at its
neutral setting. Every character takes one number, which follows from the text's key and the character's place alone.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.kernels.functions import exp
from nextchar.kernels.gemm import compiled

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


class Rules(NamedTuple):
    """How the next character is chosen.

    Attributes:
        temperature: 1 as learnt, lower is surer, 0 always the likeliest.
        top_k: Choose among the k likeliest; 0 all.
        top_p: Choose among the likeliest that together reach this probability; 1 all.
        min_p: Choose among those at least this many times as likely as the likeliest; 0 all.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float


@compiled
def uniform(key: np.uint64, place: int) -> float:
    """Return number `place` from [0, 1) of the stream that a key stands for (SplitMix64; Steele et al. 2014)."""
    z = key + (np.uint64(place) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@compiled
def largest(logits: Floats, size: int) -> int:
    """Return the place of the largest of the first `size`; of equals, the first."""
    best = 0
    for index in range(1, size):
        if logits[index] > logits[best]:
            best = index
    return best


@compiled
def exponentials(logits: Floats, top: np.float32, sharpness: np.float32, weights: Floats) -> np.float32:
    """Set weights `(V,)` to exp((logit - top) * sharpness), 0 where that is next to nothing; return their sum."""
    total = np.float32(0)
    for index in range(len(weights)):
        x = (logits[index] - top) * sharpness
        weight = exp(x) if x > np.float32(-87) else np.float32(0)
        weights[index] = weight
        total += weight
    return total


@compiled
def sink(order: Places, place: int, size: int, weights: Floats) -> None:
    """Let an id sink in a heap `(size,)` whose first is the heaviest; of equals the lower id is the heavier."""
    moving = order[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        left, right = order[child], order[min(child + 1, size - 1)]
        if weights[right] > weights[left] or (weights[right] == weights[left] and right < left):
            child += 1
            left = right
        if weights[left] > weights[moving] or (weights[left] == weights[moving] and left < moving):
            order[place] = left
            place = child
        else:
            break
    order[place] = moving


@compiled
def take(weights: Floats, order: Places, taken: int) -> float:
    """Take the heaviest out of a heap and lay it down behind it: the j-th that is taken lies at V - 1 - j."""
    last = len(order) - 1 - taken
    heaviest = order[0]
    order[0], order[last] = order[last], heaviest
    sink(order, 0, last, weights)
    return weights[heaviest]


@compiled
def keep_top(weights: Floats, order: Places, most: int, share: float) -> None:
    """Set to 0 all but the heaviest `most`, and of these all but the fewest that reach a share of them.

    Top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020). Of equals at an edge, the first stay.

    Args:
        weights: `(V,)`, in proportion to the probabilities.
        order: `(V,)`, to work in.
        most: At least 1.
        share: Above 0; 1 keeps all of them.
    """
    size = len(weights)
    for index in range(size):
        order[index] = index
    for index in range(size // 2 - 1, -1, -1):
        sink(order, index, size, weights)
    taken = 0
    mass = 0.0
    if most < size:
        for taken in range(most):
            mass += take(weights, order, taken)
        taken = most
    else:
        for index in range(size):
            mass += weights[index]
    kept = most
    if share < 1:
        kept = 0
        reached = 0.0
        while kept < most and reached < share * mass:
            if kept == taken:
                take(weights, order, taken)
                taken += 1
            reached += weights[order[size - 1 - kept]]
            kept += 1
    for index in range(size - kept):
        weights[order[index]] = 0


@compiled
def keep(weights: Floats, order: Places, rules: Rules) -> None:
    """Set to 0 the weights `(V,)` that the filters take away; order is `(V,)` to work in."""
    size = len(weights)
    most = rules.top_k if 0 < rules.top_k < size else size
    if most < size or rules.top_p < 1:
        keep_top(weights, order, most, rules.top_p)
    # min-p (Nguyen et al. 2024)
    least = np.float32(rules.min_p) * weights[largest(weights, size)]
    for index in range(size):
        if weights[index] < least:
            weights[index] = 0


@compiled
def draw(weights: Floats, number: float) -> int:
    """Return the id at which the running sum of the weights passes a number from [0, 1) of the whole."""
    total = 0.0
    for index in range(len(weights)):
        total += weights[index]
    target = number * total
    reached = 0.0
    chosen = 0
    for index in range(len(weights)):
        if weights[index] > 0:
            chosen = index
            reached += weights[index]
            if reached > target:
                break
    return chosen


@compiled
def choose(logits: Floats, rules: Rules, number: float, weights: Floats, order: Places) -> int:
    """Return the id that a number from [0, 1) draws.

    Args:
        logits: `(V,)` or more.
        rules: The filters.
        number: From [0, 1).
        weights: `(V,)`, to work in: set to what is drawn from.
        order: `(V,)`, to work in.
    """
    top = largest(logits, len(weights))
    if rules.temperature == 0:
        return top
    # Any colder and 0 times infinity would come into it; it is as cold as 0 already.
    sharpness = np.float32(1 / max(rules.temperature, 1e-30))
    exponentials(logits, logits[top], sharpness, weights)
    if rules.top_k > 0 or rules.top_p < 1 or rules.min_p > 0:
        keep(weights, order, rules)
    return draw(weights, number)


@compiled
def cost(logits: Floats, chosen: int, weights: Floats) -> float:
    """Return -log p of an id, in nats, at temperature 1 and unfiltered; `weights` is `(V,)` to work in."""
    top = logits[largest(logits, len(weights))]
    total = exponentials(logits, top, np.float32(1), weights)
    return np.log(np.float64(total)) + np.float64(top) - np.float64(logits[chosen])
