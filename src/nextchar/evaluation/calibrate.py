"""Makes a network as sure as it is right: its logits are divided by the temperature at which a text costs least."""

import numpy as np
import torch

from nextchar.evaluation.score import read
from nextchar.model.network import Network
from nextchar.text.corpus import Corpus

CHARS, WINDOW = 16_384, 512
HELD = 1 << 24  # logits at a time
DOUBT = 100.0  # characters' worth of believing in a temperature of 1: a few characters cannot tell another
LEAST, MOST = 0.5, 2.0
ROUNDS = 6


@torch.no_grad()
def calibrate(network: Network, text: Corpus) -> float:
    """Fit the temperature to stretches spread over a text; scale the head in place, and return the temperature.

    What a character costs is convex in the inverse temperature; Newton's method finds the least of it. Source: Guo et al. 2017,
    "On Calibration of Modern Neural Networks", arXiv 1706.04599.
    """
    window = min(WINDOW, len(text))
    count = max(1, min(CHARS, HELD // network.vocabulary_size, len(text)) // window)
    starts = np.linspace(0, len(text) - window, count).astype(int)
    targets = np.stack([text.take(start, start + window) for start in starts], axis=1).astype(np.int64)
    inputs = np.concatenate([np.full((1, count), network.vocabulary_size), targets[:-1]])
    every = read(network, inputs, targets, network.empty_state(count), lambda logits, _: logits)[0]
    logits = torch.from_numpy(every).flatten(0, 1)
    right = logits.gather(1, torch.from_numpy(targets).reshape(-1, 1)).double().mean()
    scale = 1.0
    for _ in range(ROUNDS):
        chances = torch.softmax(scale * logits, dim=1)
        mean = (chances * logits).sum(1)
        spread = (chances * logits.square()).sum(1) - mean.square()
        slope = len(logits) * (mean.double().mean() - right) + DOUBT * (scale - 1)
        step = slope / (len(logits) * spread.double().mean() + DOUBT)
        scale = min(max(scale - float(step), 1 / MOST), 1 / LEAST)
    for parameter in network.head.parameters():
        parameter.mul_(scale)
    return 1 / scale
