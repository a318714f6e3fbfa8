"""The nulls and the scores against what counting gives."""

import numpy as np
import pytest
import torch

from nextchar.discovery import nulls
from nextchar.discovery.probes import probe
from nextchar.discovery.scores import (
    auc,
    average_precision,
    correlation,
    design,
    draw_blocks,
    eta_squared,
    interval,
    mcc,
    moments,
    signed,
    strengths,
    tally,
)
from nextchar.discovery.states import States, quantize, split
from nextchar.features.feature import binary, cyclic, ordinal
from nextchar.features.suffixes import MAX_SUFFIX, Suffixes
from nextchar.language_model import LanguageModel


def states_of(values: np.ndarray) -> States:
    """Return units with given values `(U, T)`."""
    codes, levels = quantize(values)
    return States(tuple((0, u) for u in range(len(values))), codes, levels, np.zeros(values.shape[1]))


def test_strengths_are_those_of_the_textbook(random: np.random.Generator) -> None:
    """All pairs counted give the area; numpy gives r; a wave and its angle give 1."""
    values = np.round(random.normal(size=(3, 400)), 1).astype(np.float32)
    label = random.random(400) < 0.3
    number, angle = random.normal(size=400), np.arange(400)
    values[2] = np.sin(2 * np.pi * angle / 8 + 1)
    states, places = states_of(values), np.arange(400)
    columns = design([binary("a", label), ordinal("b", number), cyclic("c", angle, 8)], places)
    found = signed(states.ranks(places), states.standardized(places), columns)
    kept = states.values(range(3), places)
    on, off = kept[0][label], kept[0][~label]
    pairs = (on[:, None] > off).mean() + 0.5 * (on[:, None] == off).mean()
    assert found[0, 0] == pytest.approx(2 * pairs - 1, abs=1e-5)
    assert found[1, 1] == pytest.approx(np.corrcoef(kept[1], number)[0, 1], abs=1e-5)
    assert found[2, 2] == pytest.approx(1, abs=1e-3)
    off, on = tally(states.codes[0], label, np.ones(400, np.bool_), np.zeros(400, np.int64))
    assert float(auc(off[0], on[0])) == pytest.approx(pairs)
    sums = moments(kept[1], number, np.ones(400, np.bool_), np.zeros(400, np.int64))
    assert float(correlation(sums)[0]) == pytest.approx(found[1, 1], abs=1e-5)


def test_what_is_unknown_does_not_count(random: np.random.Generator) -> None:
    """A unit that is right wherever a feature is known has strength 1, whatever it does elsewhere; alone or among others."""
    known = random.random(2000) < 0.8
    label = random.random(2000) < 0.3
    number = random.integers(0, 5, 2000)
    values = np.stack([np.where(known, label, 7), np.where(known, number, -40)]).astype(np.float32)
    features = [binary("a", label, known), ordinal("b", number, known), binary("c", label), ordinal("d", number)]
    found = strengths(states_of(values), features, np.arange(2000))
    assert found[0, 0] == pytest.approx(1, abs=1e-5)
    assert found[1, 1] == pytest.approx(1, abs=1e-3)  # 256 levels
    assert found[0, 2] < 0.9
    alone = strengths(states_of(values), features[3:], np.arange(2000))
    assert found[1, 3] == pytest.approx(alone[1, 0], abs=1e-6)


def test_a_feature_that_is_never_on_goes_with_nothing(random: np.random.Generator) -> None:
    """Where there is nothing to tell apart, no unit is better than chance."""
    states = states_of(random.normal(size=(4, 500)))
    features = [binary("never", np.zeros(500)), binary("always", np.ones(500))]
    assert not strengths(states, features, np.arange(500)).any()


def test_thresholds_are_those_of_counting() -> None:
    """A unit that is right at one threshold has MCC 1 there and an average precision of 1."""
    off, on = np.zeros(256, np.int64), np.zeros(256, np.int64)
    off[[3, 9]], on[[200, 201]] = 50, 20
    assert mcc(off, on).max() == pytest.approx(1)
    assert np.argmax(mcc(off, on)) == 9
    assert average_precision(off, on) == pytest.approx(1)
    assert average_precision(on, off) < 0.8


def test_eta_squared_sees_what_r_does_not(random: np.random.Generator) -> None:
    """A curve without a slope has all its variance explained by the levels."""
    level = random.integers(-3, 4, 5000)
    assert abs(np.corrcoef(level, level**2)[0, 1]) < 0.1
    assert eta_squared(level**2, level) == pytest.approx(1)


def test_intervals_hold_the_truth(random: np.random.Generator) -> None:
    """About 95 of 100 intervals of independent blocks hold the mean."""
    inside = 0
    for trial in range(100):
        blocks = random.normal(size=60)
        low, high = interval(draw_blocks(60, trial) @ blocks / 60)
        inside += low <= 0 <= high
    assert inside >= 88


def test_suffix_tables_know_what_the_suffix_tells(random: np.random.Generator) -> None:
    """What follows from the last two characters is known from two on, what came long ago never."""
    ids = random.integers(0, 4, 20_000)
    two = (ids == 1) & (np.roll(ids, 1) == 2)
    long = np.roll(ids, 12) == 3
    tables = Suffixes(ids)
    places = np.arange(10_000, 20_000)
    for label, known in ((two, (False, True, True)), (long, (False, False, False))):
        predictions = tables.predictions(binary("x", label), np.arange(20, 10_000))[:3]
        for values, knows in zip(predictions, known, strict=True):
            off, on = tally(
                nulls.as_codes(values)[places], label[places], np.ones(10_000, np.bool_), np.zeros(10_000, np.int64)
            )
            area = float(auc(off[0], on[0]))
            assert (area > 0.999) == knows
    assert len(tables.numbers) == MAX_SUFFIX


def test_a_unit_is_special_and_a_mixture_is_not(random: np.random.Generator) -> None:
    """A feature in one unit alone is found by no random direction; in the layer's every direction it is found anyway."""
    label = random.random(12_000) < 0.5
    values = random.normal(size=(32, 12_000)).astype(np.float32)
    values[7] += 3 * label
    states, halves = states_of(values), split(12_000)
    best = nulls.rotated(states, [binary("x", label)], halves, draws=3, seed=0)
    places = halves.held
    mine = signed(states.ranks(places), states.standardized(places), design([binary("x", label)], places))
    assert mine[7, 0] > 0.95
    assert best.max() < 0.7


def test_probes_find_the_units_that_were_mixed(random: np.random.Generator) -> None:
    """At a signal as strong as the noise, the four units that make a feature are the first four taken."""
    values = random.normal(size=(40, 20_000)).astype(np.float32)
    mixed = values[[3, 9, 21, 30]].sum(0) + 2 * random.normal(size=20_000)
    last = random.integers(0, 30, 20_000)
    (found,) = probe(states_of(values), [ordinal("x", mixed)], split(20_000), last, 0)
    assert set(found.units[:4]) == {"0:3", "0:9", "0:21", "0:30"}
    assert found.strength["4"] == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert found.strength["1"] < found.strength["4"]
    assert found.control < 0.1


def test_adjusting_is_that_of_benjamini_and_hochberg() -> None:
    """The known example: each p times how many there are over its place, never less than a smaller one's."""
    np.testing.assert_allclose(nulls.adjusted([0.01, 0.04, 0.03, 0.5]), [0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_networks_to_compare_with(lm: LanguageModel) -> None:
    """The untrained one has other weights of the same shape; the shuffled one the same numbers in another order."""
    mine = dict(lm.network.named_parameters())
    for name, weight in nulls.shuffled(lm, 0).network.named_parameters():
        assert torch.equal(weight.sort().values.flatten().sort().values, mine[name].flatten().sort().values)
    again = [dict(nulls.untrained(lm, 3).network.named_parameters()) for _ in range(2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in mine)
    assert not torch.equal(again[0]["layers.0.weight_hh"], mine["layers.0.weight_hh"])


def test_shifts_are_far_and_spread() -> None:
    """They are at least 1,000 from either end where there is room, distinct and ascending."""
    amounts = nulls.shifts(50_000, 200, 0)
    assert len(amounts) == 200
    assert amounts.min() >= 1000
    assert amounts.max() <= 49_000
    assert (np.diff(amounts) > 0).all()
    assert nulls.shifts(500, 20, 0).min() >= 50
