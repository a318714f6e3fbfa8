"""Steering and patching: text generated while a unit is held, and a unit copied from a text that differs in one mark."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.discovery.ablation import BITS, begin_states, edited
from nextchar.discovery.feature_sets import Labeller
from nextchar.discovery.interventions import Edit, clamp, intervening, patch
from nextchar.discovery.states import Ints, States, Unit, as_memory
from nextchar.features.feature import Bools, Feature
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Chunk, Reader, in_parallel, shift
from nextchar.model.sampler import draw

DOSES = 7
TEXTS, LENGTH = 32, 400  # generated at every dose
SHOWN = 240  # characters of a sample
WARM_UP = 64  # characters generated or read before those that are counted
MAX_PAIRS, MIN_PAIRS = 64, 8
DISTANCE = 20  # characters after the opening mark at which the texts of a pair are compared
MIN_MEAN_RUN = 8  # mean run of a feature, in characters, below which it is not steered
MIN_EFFECT = 1e-9  # of the opening mark, in nats, below which nothing can be restored
MAX_OTHERS = 20  # other units that are patched for comparison


Ids = npt.NDArray[np.int64]
MinimalPairs = tuple[Ids, Ids, int]
"""Ids of N texts with an opening mark, `(T, N)`; with blanks in its place, `(T, N)`; first id of the closing mark."""


@dataclass(frozen=True, slots=True)
class Patching:
    """How much of the effect of an opening mark on the prediction of the closing mark one unit restores.

    Attributes:
        nats: Effect of the mark: difference in ln p of the closing mark.
        recovered: Share of it that the unit restores.
        others_largest: Largest share that one of the other units restores.
        pairs: Number of pairs of texts.
    """

    nats: float
    recovered: float
    others_largest: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Steering:
    """What holding a unit at each of D doses does to generated text.

    Attributes:
        doses: Values at which the unit is held, from the feature being off to its being on.
        shares: Share of the characters that were generated as if the feature were on (`implied_inside`).
        bits: Loss of the generated text without intervention, in bits per character.
        monotone: Spearman's rank correlation of shares and doses.
        samples: 240 characters of the first text at each dose.
    """

    doses: list[float]
    shares: list[float]
    bits: list[float]
    monotone: float
    samples: list[str]


def doses_of(states: States, row: int, feature: Feature, places: Ints, sign: int) -> npt.NDArray[np.float64]:
    """Return seven values between the unit's medians with the feature off and on, extended by half their distance on either side."""
    values, labels = states.values([row], places)[0], feature.values[places]
    on = labels > (0 if feature.kind == "binary" else np.median(labels))
    low, high = (float(np.median(values[chosen])) for chosen in (~on, on))
    if abs(high - low) < 1e-6:  # the medians are equal: take its own range
        low, high = np.quantile(values, [0.01, 0.99])[::sign]
    # Only the ends are clipped: clipping all doses would make some of them equal.
    first, last = np.clip([low - (high - low) / 2, high + (high - low) / 2], -1, 1)
    return np.linspace(first, last, DOSES)


def steer(
    lm: LanguageModel, unit: Unit, doses: npt.NDArray[np.float64], label: Labeller, feature: Feature, *, seed: int = 0
) -> Steering:
    """Generate with a unit's cell held at each dose, and measure how much is generated as if a feature were on.

    Args:
        lm: The model.
        unit: Layer and unit.
        doses: Values of the unit, `(D,)`.
        label: Makes the features of a text, `feature` among them.
        feature: The feature, of any text.
        seed: Of the sampling; all doses use the same random numbers.
    """
    memories = as_memory(doses, lm.network.architecture.cell)
    ids = np.empty((WARM_UP + LENGTH, len(doses) * TEXTS), np.int64)
    loss = np.empty(ids.shape)

    def steer_doses(first: int, after: int) -> None:
        rows, mine = (after - first) * TEXTS, slice(first * TEXTS, after * TEXTS)
        held = torch.from_numpy(np.repeat(memories[first:after], TEXTS))[:, None]
        ids[:, mine] = generate(lm, rows, len(ids), [Edit(unit[0], (unit[1],), clamp(held))], seed=seed)
        inputs = shift(ids[:, mine], lm.vocabulary.start)
        loss[:, mine] = edited(lm, []).surprisals(inputs, ids[:, mine], lm.network.empty_state(rows))[0]

    in_parallel(steer_doses, len(doses))
    by_dose = [slice(k * TEXTS, (k + 1) * TEXTS) for k in range(len(doses))]
    shares = [_share(lm, ids[:, mine].T, label, feature) for mine in by_dose]
    bits = [float(loss[WARM_UP:, mine].mean() * BITS) for mine in by_dose]
    samples = [lm.vocabulary.decode(each) for each in ids[WARM_UP : WARM_UP + SHOWN, ::TEXTS].T]
    return Steering(doses.tolist(), shares, bits, monotone(np.array(shares)), samples)


def _share(lm: LanguageModel, texts: npt.NDArray[np.int64], label: Labeller, feature: Feature) -> float:
    """Return the share of characters of texts `(N, T)` with a feature on, without the beginning of each text."""
    shares = []
    for ids in texts:
        text = "".join(chr(lm.vocabulary.codes[index]) for index in ids)
        if feature.opener and feature.closer.strip():
            on = implied_inside(text, feature.opener, feature.closer)
        else:
            found = (one.positive for one in label(text) if one.name == feature.name)
            on = next(found, np.zeros(len(text), np.bool_))
        shares.append(on[WARM_UP:].mean())
    return float(np.mean(shares))


def implied_inside(text: str, opener: str, closer: str) -> Bools:
    """Return where a text later closes what it does not open in between, `(T,)`; in balanced text, the inside of its spans.

    A network whose memory is held is inside all the time, or never. Inside, it opens nothing and closes repeatedly; outside, it
    opens and never closes. What it took itself to be in therefore shows in the text that follows, so the text is read from its
    end. Where both marks are the same, a mark before a word opens and a mark after a word closes.
    """
    behind, ahead = (r"(?<![^\s(\[{=,>~-])", r"(?=\S)") if opener == closer else ("", "")
    marks = list(re.finditer(f"(?P<open>{behind}{re.escape(opener)}{ahead})|{re.escape(closer)}", text))
    inside, depth, end = np.zeros(len(text), np.bool_), 0, len(text)
    for mark in reversed(marks):
        inside[mark.end() - 1 : end] = depth > 0
        depth, end = max(0, depth - 1) if mark["open"] else 1 + depth * (opener[0] in "([{"), mark.end() - 1
    inside[:end] = depth > 0
    return inside


def monotone(values: npt.NDArray[np.float64]) -> float:
    """Return Spearman's correlation of values with their places, with mean ranks for ties; 0 if all values are equal."""
    ranks = np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1]) if ranks.std() > 0 else 0.0


def generate(lm: LanguageModel, rows: int, length: int, edits: Sequence[Edit], *, seed: int) -> npt.NDArray[np.int64]:
    """Generate texts from the empty state under edits, at temperature 1; ids `(length, rows)`."""
    network, generator = lm.network, torch.Generator().manual_seed(seed)
    layers = network.architecture.layers
    last, state = torch.full((1, rows), lm.vocabulary.start), network.empty_state(rows)
    ids = np.empty((length, rows), np.int64)
    # All doses use the same random numbers, so that they differ in the dose only.
    numbers = torch.rand(length, TEXTS, generator=generator).repeat(1, -(-rows // TEXTS))[:, :rows]
    with torch.no_grad():
        for step in range(length):
            recurrence = intervening(edits, layers=layers, first_step=step)
            logits, state = network(last, state, recurrence=recurrence)
            last = draw(logits[0].double().softmax(1), numbers[step].double())[None]
            ids[step] = last[0].numpy()
    return ids


def minimal_pairs(lm: LanguageModel, ids: npt.NDArray[Any], feature: Feature, places: Ints) -> MinimalPairs | None:
    """Cut pairs out of a text; None if the marks are not in the vocabulary, or if there are fewer than 8 pairs.

    A text of a pair ends 20 characters after the opening mark, with the feature still on.
    """
    opener, closer = (np.array([ord(c) for c in mark]) for mark in (feature.opener, feature.closer))
    known = lm.vocabulary.find(np.concatenate([opener, closer, [ord(" ")]]).astype(np.uint32)).astype(np.int64)
    if not len(opener) or not len(closer) or int(known.max()) >= len(lm.vocabulary):
        return None
    mark, close, blank = known[: len(opener)], int(known[len(opener)]), int(known[-1])
    inside = feature.positive
    entered = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
    before = WARM_UP + len(mark)
    entered = entered[(entered >= before) & (entered + DISTANCE < len(ids)) & np.isin(entered, places)]
    lasting = [at for at in entered if inside[at : at + DISTANCE + 1].all()]
    spelled = [at for at in lasting if np.array_equal(ids[at + 1 - len(mark) : at + 1], mark)]
    if len(spelled) < MIN_PAIRS:
        return None
    chosen = [spelled[k] for k in np.linspace(0, len(spelled) - 1, min(MAX_PAIRS, len(spelled))).astype(int)]
    clean = np.stack([np.asarray(ids[at - before : at + DISTANCE + 1], np.int64) for at in chosen], 1)
    without = clean.copy()
    without[before + 1 - len(mark) : before + 1] = blank
    return clean, without, close


def patch_unit(lm: LanguageModel, pairs: MinimalPairs, unit: Unit, others: Sequence[Unit]) -> Patching:
    """Copy one unit's cell from the texts with an opening mark into those without, and predict the closing mark.

    The same is done with other units for comparison.
    """
    clean, without, close = pairs
    size = clean.shape[1]
    state = begin_states(lm, np.zeros(0, np.int64), np.zeros(size, np.int64), 1)
    cells: list[Tensor] = []
    memory = "c" if lm.network.architecture.cell == "lstm" else "h"

    def keep(chunk: Chunk) -> None:
        cells.extend(layer[memory] for layer in chunk.layers)

    def closing(inputs: npt.NDArray[np.int64], edits: Sequence[Edit]) -> float:
        """Return the mean of ln p of the closing mark after the last input."""
        targets = np.full(inputs.shape, close)
        return -float(edited(lm, edits).surprisals(inputs, targets, state)[0][-1].mean())

    Reader(lm.network, chunk=len(clean), record=True).read(clean, state, keep)
    target, base = closing(clean, []), closing(without, [])
    shares = []
    for layer, number in [unit, *others]:
        edit = Edit(layer, (number,), patch(cells[layer][:, :, [number]]))
        restored = closing(without, [edit]) - base
        shares.append(restored / (target - base) if abs(target - base) > MIN_EFFECT else 0.0)
    return Patching(target - base, shares[0], max(shares[1:], default=0.0), size)
