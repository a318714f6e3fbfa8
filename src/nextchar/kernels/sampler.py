"""The compiled sampler: from one stream's logits to the id that is drawn, with the stream's own parameters.

Penalties and a logit bias change the logits of the streams that have them. Then temperature is applied, then top-k,
top-p and min-p, each of which removes unlikely ids and is the identity at its neutral value. Every draw uses one random
number, which depends only on the stream's key and on how many ids it has drawn. `model.sampler` is the same in plain
torch.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.kernels.functions import exp
from nextchar.kernels.gemm import compiled

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


class SamplerState(NamedTuple):
    """How each of N streams draws its ids, and what it has drawn.

    Attributes:
        temperature: `(N,)`: 1 is the model's distribution; 0 takes the most likely id.
        top_k: `(N,)`: draw among the k most likely; 0 for all.
        top_p: `(N,)`: draw among the fewest most likely that together reach this probability; 1 for all.
        min_p: `(N,)`: draw among those at least this many times as likely as the most likely; 0 for all.
        keys: `(N,)` uint64, of each stream's random numbers.
        drawn: `(N,)`, how many ids each stream has drawn; updated.
        stop_ids: `(N, V)` bool: a call ends after a step in which a stream draws one of its own.
        adjusted: `(N,)` bool: whether the stream has any of what follows; if not, none of it is read.
        repetition: `(N,)`: logits of ids that were drawn are divided by it if positive, else multiplied.
        presence: `(N,)`, subtracted from the logits of ids that were drawn.
        frequency: `(N,)`, subtracted from a logit once for each time that its id was drawn.
        bias: `(N, V)`, added to the logits.
        counts: `(N, V)`, how often each id was drawn; updated.
    """

    temperature: Doubles
    top_k: Ids
    top_p: Doubles
    min_p: Doubles
    keys: npt.NDArray[np.uint64]
    drawn: Ids
    stop_ids: npt.NDArray[np.bool_]
    adjusted: npt.NDArray[np.bool_]
    repetition: Floats
    presence: Floats
    frequency: Floats
    bias: Floats
    counts: Ids


def new_sampler(streams: int, size: int) -> SamplerState:
    """Return a sampler of N streams over V ids, with neutral parameters and keys of 0."""
    return SamplerState(
        np.ones(streams),
        np.zeros(streams, np.int64),
        np.ones(streams),
        np.zeros(streams),
        np.zeros(streams, np.uint64),
        np.zeros(streams, np.int64),
        np.zeros((streams, size), np.bool_),
        np.zeros(streams, np.bool_),
        np.ones(streams, np.float32),
        np.zeros(streams, np.float32),
        np.zeros(streams, np.float32),
        np.zeros((streams, size), np.float32),
        np.zeros((streams, size), np.int64),
    )


@compiled
def uniform(key: np.uint64, place: int) -> float:
    """Return random number `place` of a key, from [0, 1) (SplitMix64; Steele et al. 2014)."""
    z = key + (np.uint64(place) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) * 2.0**-53


@compiled
def argmax(logits: Floats, size: int) -> int:
    """Return the index of the largest of the first `size`; of equals, the first."""
    best = 0
    for index in range(1, size):
        if logits[index] > logits[best]:
            best = index
    return best


@compiled
def exponentials(logits: Floats, top: np.float32, scale: np.float32, weights: Floats) -> np.float32:
    """Set weights `(V,)` to exp((logit - top) * scale), or 0 where that underflows; return their sum."""
    total = np.float32(0)
    for index in range(len(weights)):
        x = (logits[index] - top) * scale
        weight = exp(x) if x > np.float32(-87) else np.float32(0)
        weights[index] = weight
        total += weight
    return total


@compiled
def sift_down(order: Ids, place: int, size: int, weights: Floats) -> None:
    """Restore a max-heap of ids `(size,)` from `place` down; of equal weights the lower id comes first."""
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
def pop_max(weights: Floats, order: Ids, popped: int) -> float:
    """Move the largest of a heap behind its end and return its weight: the j-th popped is at V - 1 - j."""
    last = len(order) - 1 - popped
    largest = order[0]
    order[0], order[last] = order[last], largest
    sift_down(order, 0, last, weights)
    return weights[largest]


@compiled
def keep_top(weights: Floats, order: Ids, most: int, share: float) -> None:
    """Set to 0 all but the `most` largest weights, and of these all but the first that reach a share.

    Top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020). Of equals at the edge, the lower ids stay.

    Args:
        weights: `(V,)`, proportional to the probabilities.
        order: `(V,)`, scratch.
        most: At least 1.
        share: Above 0; 1 keeps all of them.
    """
    size = len(weights)
    for index in range(size):
        order[index] = index
    for index in range(size // 2 - 1, -1, -1):
        sift_down(order, index, size, weights)
    popped = 0
    mass = 0.0
    if most < size:
        for popped in range(most):
            mass += pop_max(weights, order, popped)
        popped = most
    else:
        for index in range(size):
            mass += weights[index]
    kept = most
    if share < 1:
        kept = 0
        reached = 0.0
        while kept < most and reached < share * mass:
            if kept == popped:
                pop_max(weights, order, popped)
                popped += 1
            reached += weights[order[size - 1 - kept]]
            kept += 1
    for index in range(size - kept):
        weights[order[index]] = 0


@compiled
def keep(weights: Floats, order: Ids, top_k: int, top_p: float, min_p: float) -> None:
    """Set to 0 the weights `(V,)` that the filters remove; order is `(V,)` scratch."""
    size = len(weights)
    most = top_k if 0 < top_k < size else size
    if most < size or top_p < 1:
        keep_top(weights, order, most, top_p)
    # min-p (Nguyen et al. 2024)
    least = np.float32(min_p) * weights[argmax(weights, size)]
    for index in range(size):
        if weights[index] < least:
            weights[index] = 0


@compiled
def invert_cdf(weights: Floats, number: float) -> int:
    """Return the first id at which the cumulative weight exceeds a number from [0, 1) times their sum."""
    total = 0.0
    for index in range(len(weights)):
        total += weights[index]
    target = number * total
    reached = 0.0
    drawn = 0
    for index in range(len(weights)):
        if weights[index] > 0:
            drawn = index
            reached += weights[index]
            if reached > target:
                break
    return drawn


@compiled
def adjust(logits: Floats, sampler: SamplerState, stream: int, adjusted: Floats) -> None:
    """Set `(V,)` to the logits of a stream with its penalties and its bias.

    Source: Keskar et al. 2019 (repetition); presence and frequency as in OpenAI's API.
    """
    repetition = sampler.repetition[stream]
    for index in range(len(adjusted)):
        logit = logits[index]
        count = np.float32(sampler.counts[stream, index])
        if count > 0:
            logit = logit / repetition if logit > 0 else logit * repetition
            logit -= sampler.frequency[stream] * count + sampler.presence[stream]
        adjusted[index] = logit + sampler.bias[stream, index]


@compiled
def draw(logits: Floats, sampler: SamplerState, stream: int, number: float, weights: Floats, order: Ids) -> int:
    """Return the id that a random number draws.

    Args:
        logits: `(V,)` or more.
        sampler: The parameters of every stream.
        stream: The stream that draws.
        number: From [0, 1).
        weights: `(V,)`, scratch: set to the weights that are drawn from, unless the temperature is 0.
        order: `(V,)`, scratch.
    """
    if sampler.adjusted[stream]:
        adjust(logits, sampler, stream, weights)
        return draw_from(weights, sampler, stream, number, weights, order)
    return draw_from(logits, sampler, stream, number, weights, order)


@compiled
def draw_from(logits: Floats, sampler: SamplerState, stream: int, number: float, weights: Floats, order: Ids) -> int:
    """Do what `draw` does with logits that are final, and may be in the same memory as the weights."""
    temperature, top_k = sampler.temperature[stream], sampler.top_k[stream]
    top_p, min_p = sampler.top_p[stream], sampler.min_p[stream]
    top = argmax(logits, len(weights))
    if temperature == 0:
        return top
    # A lower temperature would multiply 0 by infinity, and already takes the most likely.
    scale = np.float32(1 / max(temperature, 1e-30))
    exponentials(logits, logits[top], scale, weights)
    if top_k > 0 or top_p < 1 or min_p > 0:
        keep(weights, order, top_k, top_p, min_p)
    return invert_cdf(weights, number)


@compiled
def negative_log_likelihood(logits: Floats, index: int, weights: Floats) -> float:
    """Return -log p of an id, in nats, at temperature 1 and without filters; `weights` is `(V,)` scratch."""
    top = logits[argmax(logits, len(weights))]
    total = exponentials(logits, top, np.float32(1), weights)
    return np.log(np.float64(total)) + np.float64(top) - np.float64(logits[index])
