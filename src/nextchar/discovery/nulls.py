"""Four nulls: circular shifts, networks without training, tables of the last characters, random directions.

Each gives, for every feature, the strength of the best unit, table or direction without the claimed relation. Circular shifts
keep the autocorrelation of text and units and break only their alignment; labels permuted one by one lose it, and then every
feature that comes in runs looks significant.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.config import renamed
from nextchar.discovery.scores import Doubles, design, gathered, signed
from nextchar.discovery.states import LEVELS, Codes, Ints, Split, States
from nextchar.features.feature import Feature
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network, initialize

COLUMNS = 512  # of one matrix product
ROTATED_CHARACTERS = 10_000  # held-out characters on which random directions are scored


def shifts(length: int, count: int, seed: int, *, least: int = 1000) -> Ints:
    """Draw shifts of at least 1,000 characters in either direction where the text allows it, one from each of `count` even strata.

    Strata keep the shifts apart; two shifts that differ by less than the memory of a unit are not independent.
    """
    least = min(least, length // 10)
    count = min(count, length - 2 * least)
    draws = np.random.default_rng(seed).random(count)
    return (least + (np.arange(count) + draws) * (length - 2 * least) / count).astype(np.int64)


def shifted_best(ranks: Tensor, scaled: Tensor, features: list[Feature], places: Ints, amounts: Ints) -> Doubles:
    """Return the strength of the best unit when the features are shifted circularly against the units, `(shifts, F)`.

    The best is taken in every shift, so its distribution is that of the best of all units by chance.
    """
    columns = design(features, places)
    result = np.empty((len(amounts), len(features)))
    # Several shifts share one product, so that all units are read from memory once for all of them.
    together = max(1, COLUMNS // max(1, len(features)))
    for first in range(0, len(amounts), together):
        some = [int(amount) for amount in amounts[first : first + together]]
        many = [
            (rows @ torch.cat([each.roll(amount, 0) for amount in some], 1)).chunk(len(some), 1)
            for rows, each in ((ranks, columns.ranked), (scaled, columns.scaled))
        ]
        for row, (ranked, others) in enumerate(zip(*many, strict=True), first):
            result[row] = np.abs(gathered(ranked, others, columns)).max(0)
    return result


def p_values(best: Doubles, found: Doubles) -> Doubles:
    """Return the share of shifts in which the best is at least as strong as `found`, which counts as one of them, `(F,)`."""
    return (1 + (best >= found).sum(0)) / (1 + len(best))


def adjusted(p: npt.ArrayLike) -> Doubles:
    """Return p-values adjusted for the false discovery rate, `(F,)`. Source: Benjamini & Hochberg 1995."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    result = np.empty(len(p))
    result[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return result


def untrained(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return a network of the same shape with initial weights, drawn as at the start of the training."""
    network = Network(lm.network.architecture, len(lm.vocabulary))
    options = renamed(lm.config)
    how, bias = options.get("init", "orthogonal"), options.get("forget_bias", 1.0)
    initialize(network, torch.Generator().manual_seed(seed), how=how, forget_bias=bias)
    return LanguageModel(network.to(lm.network.head.weight.device), lm.vocabulary, lm.config)


def shuffled(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return the network with the entries of every weight matrix permuted: the same scales without the structure."""
    network = Network(lm.network.architecture, len(lm.vocabulary))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for mine, theirs in zip(network.parameters(), lm.network.parameters(), strict=True):
            flat = theirs.detach().cpu().flatten()
            order = torch.randperm(len(flat), generator=generator)
            mine.copy_(flat[order].view_as(mine) if theirs.ndim > 1 else theirs.cpu())
    return LanguageModel(network.to(lm.network.head.weight.device), lm.vocabulary, lm.config)


def as_codes(values: Doubles) -> Codes:
    """Quantize predictions into 256 levels of equal frequency, `(T,)`."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, LEVELS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.uint8)


def rotated(states: States, features: list[Feature], halves: Split, *, draws: int, seed: int) -> Doubles:
    """Score the directions of random rotations of each layer (Haar measure) instead of its units.

    If the best of them is as strong as a unit, the layer represents the feature, but not in that unit. Returns the strength of
    the best direction of each rotation, `(draws, F)`.
    """
    generator = torch.Generator().manual_seed(seed)
    every = max(1, len(halves.held) // ROTATED_CHARACTERS)
    places = halves.held[::every]
    columns = design(features, places)
    best = np.zeros((draws, len(features)))
    sizes = list(Counter(layer for layer, _ in states.units).values())
    layers = torch.split(states.standardized(places), sizes)
    for draw in range(draws):
        for layer in layers:
            rotation, upper = torch.linalg.qr(torch.randn(len(layer), len(layer), generator=generator))
            directions = (rotation * upper.diagonal().sign()).T @ layer
            even = ((torch.arange(len(places)) + 0.5) / len(places)).expand(len(layer), -1)
            ranks = torch.empty_like(directions).scatter_(1, directions.argsort(1), even)
            scaled = directions / directions.std(1, keepdim=True).clamp(min=1e-9)
            best[draw] = np.maximum(best[draw], np.abs(signed(ranks, scaled, columns)).max(0))
    return best
