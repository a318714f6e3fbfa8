"""The reference sampler in plain torch: from logits, or any weights, to the ids that random numbers draw.

This is the sampler of everything that generates with torch: the CUDA graph backend, steered networks
(discovery) and n-gram tables draw with it. `kernels.sampler` is the same, compiled for the CPU; a test holds
the two against each other. Nothing here depends on values, so that it can be captured in a CUDA graph.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class SamplerTensors(NamedTuple):
    """The parameters of N streams, each `(N, 1)`, as in `sampling.options.SamplingParams`.

    Attributes:
        temperature: 0 takes the most likely id.
        top_k: 0 for all.
        top_p: 1 for all.
        min_p: 0 for all.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor


class Adjustment(NamedTuple):
    """What changes the logits of N streams before anything else, as in `sampling.options.SamplingParams`.

    Attributes:
        repetition_penalty: `(N, 1)`, 1 for none.
        presence_penalty: `(N, 1)`, 0 for none.
        frequency_penalty: `(N, 1)`, 0 for none.
        bias: `(N, V)`.
    """

    repetition_penalty: Tensor
    presence_penalty: Tensor
    frequency_penalty: Tensor
    bias: Tensor


def adjusted_logits(logits: Tensor, adjustment: Adjustment, counts: Tensor) -> Tensor:
    """Return logits `(N, V)` with penalties for what was drawn, and with the bias.

    Args:
        logits: `(N, V)`.
        adjustment: Of the same type and device.
        counts: `(N, V)`, how often each stream has drawn each id, of the same type.

    Source: Keskar et al. 2019 (repetition); presence and frequency as in OpenAI's API.
    """
    repetition, presence, frequency, bias = adjustment
    scaled = torch.where(logits > 0, logits / repetition, logits * repetition) - (frequency * counts + presence)
    return torch.where(counts > 0, scaled, logits) + bias


def sampling_weights(logits: Tensor, params: SamplerTensors) -> Tensor:
    """Return the weights `(N, V)` that ids are drawn from, which need not sum to 1.

    p ~ exp(logit / temperature); then top-k keeps the k largest, top-p of these the fewest that reach its
    share of their sum, min-p those of at least its share of the largest. Of equals at an edge, the lower ids
    are kept.

    Args:
        logits: `(N, V)`, of the type to compute in.
        params: Of the same type and device; `top_k` int64.

    Source: Fan et al. 2018 (top-k), Holtzman et al. 2020 (top-p), Nguyen et al. 2024 (min-p).
    """
    size = logits.shape[1]
    p = torch.softmax(logits / params.temperature.clamp(min=1e-30), dim=1)
    ordered, order = p.sort(dim=1, descending=True, stable=True)
    rank = torch.arange(size, device=logits.device)
    ordered = ordered.masked_fill((rank >= params.top_k) & (params.top_k > 0), 0)
    reached = ordered.cumsum(dim=1)
    beyond = (reached - ordered >= params.top_p * reached[:, -1:]) & (params.top_p < 1)
    ordered = ordered.masked_fill(beyond, 0)
    ordered = ordered.masked_fill(ordered < params.min_p * ordered[:, :1], 0)
    greedy = rank == logits.argmax(dim=1, keepdim=True)
    return torch.where(params.temperature == 0, greedy.to(p.dtype), p.new_zeros(p.shape).scatter(1, order, ordered))


def draw(weights: Tensor, numbers: Tensor) -> Tensor:
    """Return the ids `(N,)` that numbers `(N,)` from [0, 1) draw, by the inverse of the cumulative distribution.

    An id is the first at which the cumulative weight exceeds the number times the sum.

    Args:
        weights: `(N, V)`, not negative, at least one of each row positive.
        numbers: One for each row.
    """
    reached = weights.cumsum(dim=1)
    drawn = (reached <= numbers[:, None] * reached[:, -1:]).sum(dim=1)
    # Rounding can carry a draw past the last id with any weight.
    ids = torch.arange(weights.shape[1], device=weights.device)
    return torch.minimum(drawn, (ids * (weights > 0)).amax(dim=1))
