"""Calibration: divide a network's logits by the temperature at which a text has the least loss."""

import numpy as np
import torch
from torch import Tensor

from nextchar.model.network import Network
from nextchar.model.reading import Chunk, Reader, log_probabilities, shift
from nextchar.text.corpus import Corpus

CHARS, WINDOW = 16_384, 512
MAX_LOGITS = 1 << 24  # in memory at a time
# The weight of the prior belief in a temperature of 1: a few characters are no evidence of another.
PRIOR_CHARS = 100.0
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.5, 2.0
ITERATIONS = 6


@torch.no_grad()
def calibrate(network: Network, text: Corpus) -> float:
    """Fit the temperature to stretches spread over a text; scale the head in place, and return the temperature.

    The loss is convex in the inverse temperature; Newton's method finds its minimum. Source: Guo et al. 2017,
    "On Calibration of Modern Neural Networks", arXiv 1706.04599.
    """
    window = min(WINDOW, len(text))
    count = max(1, min(CHARS, MAX_LOGITS // network.vocabulary_size, len(text)) // window)
    starts = np.linspace(0, len(text) - window, count).astype(int)
    targets = np.stack([text.take(start, start + window) for start in starts], axis=1).astype(np.int64)
    parts: list[Tensor] = []

    def visit(chunk: Chunk) -> None:
        parts.append(chunk.logits.cpu())

    Reader(network).read(shift(targets, network.vocabulary_size), network.empty_state(count), visit)
    logits = torch.cat(parts).flatten(0, 1)
    right = logits.gather(1, torch.from_numpy(targets).reshape(-1, 1)).double().mean()
    scale = 1.0
    for _ in range(ITERATIONS):
        p = log_probabilities(scale * logits).exp()
        mean = (p * logits).sum(1)
        variance = (p * logits.square()).sum(1) - mean.square()
        slope = len(logits) * (mean.mean() - right) + PRIOR_CHARS * (scale - 1)
        step = slope / (len(logits) * variance.mean() + PRIOR_CHARS)
        scale = min(max(scale - float(step), 1 / MAX_TEMPERATURE), 1 / MIN_TEMPERATURE)
    for parameter in network.head.parameters():
        parameter.mul_(scale)
    return 1 / scale
