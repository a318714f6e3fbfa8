"""Four answers to "could this be nothing?": chance, an untrained network, the last few characters, any direction.

Each gives, for every feature, how strong the best would be without what is claimed. The first keeps the rhythm of text and
units and breaks only their alignment; labels permuted one by one would make a discovery of everything that comes in runs.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.config import renamed
from nextchar.discovery.features import Feature
from nextchar.discovery.scores import Doubles, design, gathered, signed
from nextchar.discovery.states import LEVELS, Codes, Ints, Split, States
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network, initialize

LONGEST = 8  # characters a table of suffixes looks back
PRIOR = 2.0  # characters' worth of trust in the next shorter suffix
COLUMNS = 512  # of one product
SPARE = 10_000  # held-out characters that random directions are tried on


def shifts(length: int, count: int, seed: int, *, least: int = 1000) -> Ints:
    """Draw by how much to shift, at least 1,000 either way where there is room: one from each of `count` even strata.

    Spread out like this they overlap least; shifts that differ by less than a unit remembers are one trial, not two.
    """
    least = min(least, length // 10)
    count = min(count, length - 2 * least)
    draws = np.random.default_rng(seed).random(count)
    return (least + (np.arange(count) + draws) * (length - 2 * least) / count).astype(np.int64)


def shifted_best(
    ranks: Tensor, scaled: Tensor, features: list[Feature], places: Ints, amounts: Ints
) -> Doubles:
    """Return the strength of the best unit when the features are shifted in a circle against the units, `(shifts, F)`.

    The best is taken anew in every shift, so that its distribution is that of the best of all units by chance alone.
    """
    columns = design(features, places)
    result = np.empty((len(amounts), len(features)))
    # Several shifts in one product: alone, each would wait for all units to come from memory.
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
    """Return how often the best by chance was as strong as what was found, the find itself counted in, `(F,)`."""
    return (1 + (best >= found).sum(0)) / (1 + len(best))


def adjusted(p: Sequence[float]) -> Doubles:
    """Return what share of discoveries up to each would be false (Benjamini & Hochberg 1995), `(F,)`."""
    order = np.argsort(p)
    scaled = np.asarray(p, np.float64)[order] * len(p) / np.arange(1, len(p) + 1)
    result = np.empty(len(p))
    result[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return result


def untrained(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return a network of the same shape with weights as training would have begun from."""
    network = Network(lm.network.architecture, len(lm.vocabulary))
    options = renamed(lm.config)
    how, bias = options.get("init", "orthogonal"), options.get("forget_bias", 1.0)
    initialize(network, torch.Generator().manual_seed(seed), how=how, forget_bias=bias)
    return LanguageModel(network.to(lm.network.head.weight.device), lm.vocabulary, lm.config)


def shuffled(lm: LanguageModel, seed: int) -> LanguageModel:
    """Return the network with the entries of every recurrent and input matrix in random order: its scales, not its structure."""
    network = Network(lm.network.architecture, len(lm.vocabulary))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for mine, theirs in zip(network.parameters(), lm.network.parameters(), strict=True):
            flat = theirs.detach().cpu().flatten()
            order = torch.randperm(len(flat), generator=generator)
            mine.copy_(flat[order].view_as(mine) if theirs.ndim > 1 else theirs.cpu())
    return LanguageModel(network.to(lm.network.head.weight.device), lm.vocabulary, lm.config)


class Suffixes:
    """Which suffix of up to 8 characters each place of a text ends in, told apart once for all features."""

    def __init__(self, ids: npt.NDArray[np.integer], longest: int = LONGEST) -> None:
        place = np.asarray(ids, np.int64)
        self.numbers: list[Ints] = []
        for length in range(1, longest + 1):
            if length > 1:
                before = np.concatenate([np.full(length - 1, -1), ids[: len(ids) - length + 1]])
                place = place * (int(ids.max()) + 2) + before.astype(np.int64) + 1
            # Numbers instead of the digits themselves: they would not fit an integer for long.
            place = np.unique(place, return_inverse=True)[1].astype(np.int64)
            self.numbers.append(place)

    def predictions(self, feature: Feature, fit: Ints) -> list[Doubles]:
        """Return what tables of 1 to 8 characters, filled on the fit half, expect of a feature at every place.

        Each leans on the next shorter one where it has seen a suffix rarely.
        """
        values = feature.values.astype(np.float64)
        there = fit[feature.known[fit]]
        expected = np.full(len(values), values[there].mean() if len(there) else 0.0)
        result = []
        for number in self.numbers:
            size = int(number.max()) + 1
            count = np.bincount(number[there], minlength=size)[number]
            total = np.bincount(number[there], values[there], minlength=size)[number]
            expected = (total + PRIOR * expected) / (count + PRIOR)
            result.append(expected)
        return result


def as_codes(values: Doubles) -> Codes:
    """Put expectations into 256 levels of equal rank, as a unit of their own, `(T,)`."""
    order = np.unique(np.quantile(values, np.linspace(0, 1, LEVELS + 1)[1:-1]))
    return np.searchsorted(order, values, side="right").astype(np.uint8)


def rotated(
    states: States, features: list[Feature], halves: Split, *, draws: int, seed: int, hidden: int
) -> Doubles:
    """Try H directions of a random rotation (Haar) instead of the units, so many times.

    If they do as well, a feature is in the layer but the unit is nothing special. Returns the strength of the best, `(draws, F)`.
    """
    generator = torch.Generator().manual_seed(seed)
    every = max(1, len(halves.held) // SPARE)
    places = halves.held[::every]
    scaled = states.standardized(places)
    columns = design(features, places)
    best = np.zeros((draws, len(features)))
    even = ((torch.arange(len(places)) + 0.5) / len(places)).expand(hidden, -1)
    for draw in range(draws):
        for first in range(0, len(scaled), hidden):
            layer = scaled[first : first + hidden]
            rotation, upper = torch.linalg.qr(torch.randn(len(layer), len(layer), generator=generator))
            turned = (rotation * upper.diagonal().sign()).T @ layer
            ranks = torch.empty_like(turned).scatter_(1, turned.argsort(1), even)
            found = signed(ranks, turned / turned.std(1, keepdim=True).clamp(min=1e-9), columns)
            best[draw] = np.maximum(best[draw], np.abs(found).max(0))
    return best
