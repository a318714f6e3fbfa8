"""Writing with a unit held at a dose, and reading with a unit patched in from a text that differs in one mark."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.discovery.ablation import BITS, begin_states, costs
from nextchar.discovery.feature_sets import Labeller
from nextchar.discovery.features import Bools, Feature
from nextchar.discovery.interventions import Edit, clamp, intervening, patch
from nextchar.discovery.states import Ints, States, Unit, as_memory, watching
from nextchar.kernels.threads import parallel_for
from nextchar.language_model import LanguageModel
from nextchar.model.compiled import own_threads

DOSES = 7
TEXTS, LENGTH = 32, 400  # written at every dose
SHOWN = 240  # characters of a sample
SETTLE = 64  # characters written before those that are counted
PAIRS, DISTANCE = 64, 20  # minimal pairs, and how many characters after the mark they are compared
SPAN = 8  # characters that a feature must hold on average to be steered


@dataclass(frozen=True, slots=True)
class Steering:
    """What comes of holding a unit at each of D doses while writing.

    Attributes:
        doses: What the unit is held to read as, from where the feature is off to where it is on.
        shares: Of the characters written, how many were written as if the feature were on (`taken_to_be_inside`).
        bits: What they cost the network when nothing is held, in bits per character.
        monotone: Spearman's correlation of share and place among the doses.
        samples: How the first text goes at each, 240 characters.
    """

    doses: list[float]
    shares: list[float]
    bits: list[float]
    monotone: float
    samples: list[str]


def doses_of(states: States, row: int, feature: Feature, places: Ints, sign: int) -> npt.NDArray[np.float64]:
    """Return seven values from the unit's median without a feature to that with it, and half as far again to either side."""
    values, labels = states.values([row], places)[0], feature.values[places]
    on = labels > (0 if feature.kind == "binary" else np.median(labels))
    low, high = (float(np.median(values[chosen])) for chosen in (~on, on))
    if abs(high - low) < 1e-6:  # the medians are even; then its own ends
        low, high = np.quantile(values, [0.01, 0.99])[::sign]
    # The ends first: clipped afterwards, several doses would be the same.
    first, last = np.clip([low - (high - low) / 2, high + (high - low) / 2], -1, 1)
    return np.linspace(first, last, DOSES)


def steer(
    lm: LanguageModel,
    unit: Unit,
    doses: npt.NDArray[np.float64],
    label: Labeller,
    feature: Feature,
    *,
    seed: int = 0,
) -> Steering:
    """Write with a unit's cell held at each dose, and count how much was written as if a feature were on.

    Args:
        lm: The model.
        unit: Layer and unit.
        doses: What the unit is held to read as, `(D,)`.
        label: Makes features of a text, the wanted one among them.
        feature: The wanted one, of any text.
        seed: Everything random follows from it; all doses draw the same random numbers.
    """
    memories = as_memory(doses, lm.network.architecture.cell)
    ids = np.empty((SETTLE + LENGTH, len(doses) * TEXTS), np.int64)
    paid = np.empty(ids.shape)

    def some(first: int, after: int) -> None:
        lanes, mine = (after - first) * TEXTS, slice(first * TEXTS, after * TEXTS)
        held = torch.from_numpy(np.repeat(memories[first:after], TEXTS))[:, None]
        ids[:, mine] = write(lm, lanes, len(ids), [Edit(unit[0], (unit[1],), clamp(held))], seed=seed)
        start = torch.full((1, lanes), lm.vocabulary.start)
        read = torch.cat([start, torch.from_numpy(ids[:, mine])])
        paid[:, mine] = costs(lm, read, lm.network.empty_state(lanes), [])[1:]

    with own_threads():
        parallel_for(some, len(doses), 1)
    paid = paid[SETTLE:]
    shares, bits = [], []
    for k in range(len(doses)):
        mine = slice(k * TEXTS, (k + 1) * TEXTS)
        shares.append(_share(lm, ids[:, mine].T, label, feature))
        bits.append(float(paid[:, mine].mean() * BITS))
    samples = [lm.vocabulary.decode(each) for each in ids[SETTLE : SETTLE + SHOWN, ::TEXTS].T]
    return Steering([float(dose) for dose in doses], shares, bits, monotone(np.array(shares)), samples)


def _share(lm: LanguageModel, texts: npt.NDArray[np.int64], label: Labeller, feature: Feature) -> float:
    """Return how often a feature is on in texts `(N, T)`, each by itself, the beginning of each left out."""
    shares = []
    for ids in texts:
        text = "".join(chr(lm.vocabulary.codes[index]) for index in ids)
        if feature.opener and feature.closer.strip():
            on = taken_to_be_inside(text, feature.opener, feature.closer)
        else:
            found = (one.positive for one in label(text) if one.name == feature.name)
            on = next(found, np.zeros(len(text), np.bool_))
        shares.append(on[SETTLE:].mean())
    return float(np.mean(shares))


def taken_to_be_inside(text: str, opener: str, closer: str) -> Bools:
    """Return where a text goes on to close what it does not open in between, `(T,)`; in sound text, the inside of its spans.

    A writer whose memory is held is always inside, or never. Inside it opens nothing and closes time and again; outside it
    opens and forgets. So what it took itself to be in is told by what comes, not by what came before: the text is read from its
    end. Where both marks look alike, one that stands before a word opens and one that stands after a word closes.
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
    """Return Spearman's correlation of values with their places, even ones in their middle; 0 where nothing moves."""
    ranks = np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1]) if ranks.std() > 0 else 0.0


def write(
    lm: LanguageModel, lanes: int, length: int, edits: Sequence[Edit], *, seed: int
) -> npt.NDArray[np.int64]:
    """Write so many texts side by side from nothing while edits are made, at temperature 1; ids `(length, lanes)`."""
    network, generator = lm.network, torch.Generator().manual_seed(seed)
    layers = network.architecture.layers
    last, state = torch.full((1, lanes), lm.vocabulary.start), network.empty_state(lanes)
    written = np.empty((length, lanes), np.int64)
    # Every dose draws the same numbers, so that what differs between them is the dose.
    draws = torch.rand(length, TEXTS, generator=generator).repeat(1, -(-lanes // TEXTS))[:, :lanes]
    with torch.no_grad():
        for step in range(length):
            recurrence = intervening(edits, layers=layers, first_step=step)
            logits, state = network(last, state, recurrence=recurrence)
            chances = logits[0].double().softmax(1).cumsum(1)
            chosen = torch.searchsorted(chances, draws[step, :, None].double() * chances[:, -1:])
            last = chosen.clamp(max=chances.shape[1] - 1).T
            written[step] = last[0].numpy()
    return written


def minimal_pairs(
    lm: LanguageModel, ids: npt.NDArray[Any], feature: Feature, places: Ints
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return texts with an opening mark and the same without it, `(T, N)` each, and the closing mark's first id.

    A pair is cut out where the feature was entered 20 characters ago and still holds; without means that the mark's
    characters are blanks.
    """
    opener, closer = (np.array([ord(c) for c in mark]) for mark in (feature.opener, feature.closer))
    known = lm.vocabulary.find(np.concatenate([opener, closer, [ord(" ")]]).astype(np.uint32))
    if not len(opener) or not len(closer) or int(known.max()) >= len(lm.vocabulary):
        return None
    mark, close, blank = known[: len(opener)].astype(np.int64), int(known[len(opener)]), int(known[-1])
    inside = feature.positive
    entered = np.flatnonzero(inside & ~np.concatenate([[False], inside[:-1]]))
    before = SETTLE + len(mark)
    entered = entered[(entered >= before) & (entered + DISTANCE < len(ids)) & np.isin(entered, places)]
    lasting = [at for at in entered if inside[at : at + DISTANCE + 1].all()]
    spelled = [at for at in lasting if np.array_equal(ids[at + 1 - len(mark) : at + 1], mark)]
    if len(spelled) < 8:
        return None
    chosen = [spelled[k] for k in np.linspace(0, len(spelled) - 1, min(PAIRS, len(spelled))).astype(int)]
    rows = np.stack([np.asarray(ids[at - before : at + DISTANCE + 1], np.int64) for at in chosen], 1)
    without = rows.copy()
    without[before + 1 - len(mark) : before + 1] = blank
    return torch.from_numpy(rows), torch.from_numpy(without), torch.tensor(close)


def recovered(
    lm: LanguageModel, pairs: tuple[Tensor, Tensor, Tensor], unit: Unit, others: Sequence[Unit]
) -> dict[str, float]:
    """Return how much of the difference an opening mark makes to the closing one comes back with one unit's cell alone.

    1 is all of it, 0 none. The cell is put into the text without the mark from the mark on, as it was with the mark; the
    same is done with other units for comparison.
    """
    clean, without, close = pairs
    layers = lm.network.architecture.layers
    state = begin_states(lm, np.zeros(0, np.int64), np.zeros(clean.shape[1], np.int64), 1)
    cells: list[Tensor] = []
    with torch.no_grad():
        here, _ = lm.network(clean, state, recurrence=watching(cells))
        there, _ = lm.network(without, state, recurrence=intervening([], layers=layers))
        target, base = (logits[-1].log_softmax(1)[:, close].mean().item() for logits in (here, there))
        shares = []
        for layer, number in [unit, *others]:
            edit = Edit(layer, (number,), patch(cells[layer][:, :, [number]]))
            logits, _ = lm.network(without, state, recurrence=intervening([edit], layers=layers))
            value = logits[-1].log_softmax(1)[:, close].mean().item()
            shares.append((value - base) / (target - base) if abs(target - base) > 1e-9 else 0.0)
    return {
        "nats": target - base,
        "recovered": shares[0],
        "others_largest": max(shares[1:], default=0.0),
        "pairs": clean.shape[1],
    }
