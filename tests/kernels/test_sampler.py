import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextchar.kernels.sampler import draw, invert_cdf, keep, negative_log_likelihood, new_sampler, uniform
from nextchar.sampling.options import SamplingParams

Array = np.ndarray
PLAIN = SamplingParams()

# Whole weights, so that equals and zeros are common, and sums exact.
weights_of = (
    st.lists(st.integers(0, 20), min_size=1, max_size=25).filter(any).map(lambda weights: np.array(weights, np.float32))
)
logits_of = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=25).map(
    lambda values: np.array(values, np.float32)
)
shares = st.floats(0.001, 1)
params_of = st.builds(
    SamplingParams, st.just(1.0), st.integers(0, 30), st.one_of(st.just(1.0), shares), st.floats(0, 1)
)


def _keep(weights: Array, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> Array:
    left = weights.copy()
    keep(left, np.empty(len(weights), np.int64), top_k, top_p, min_p)
    return left


def _kept(weights: Array) -> set[int]:
    return set(np.flatnonzero(weights).tolist())


def _by_definition(weights: Array, params: SamplingParams) -> Array:
    """Return what the filters leave, from their definitions, one after the other."""
    order = sorted(range(len(weights)), key=lambda index: (-weights[index], index))
    order = order[: params.top_k or None]
    if params.top_p < 1:
        whole, reached = math.fsum(weights[order]), 0.0
        for count, index in enumerate(order, 1):
            reached += float(weights[index])
            if reached >= params.top_p * whole:
                order = order[:count]
                break
    least = np.float32(params.min_p) * weights.max()
    return np.array([w if i in order and w >= least else 0 for i, w in enumerate(weights)], np.float32)


def _draw(logits: Array, params: SamplingParams, number: float) -> tuple[int, Array]:
    """Return the id that a stream draws beside one with other parameters, and the weights it was drawn from."""
    weights = np.full(len(logits), np.nan, np.float32)
    sampler = new_sampler(2, len(logits))
    for name in ("temperature", "top_k", "top_p", "min_p"):
        getattr(sampler, name)[:] = [0, getattr(params, name)]
    return draw(logits, sampler, 1, number, weights, np.empty(len(logits), np.int64)), weights


@given(weights=weights_of, params=params_of)
def test_the_filters_are_their_definitions(weights: Array, params: SamplingParams) -> None:
    """All filters at once leave what sorting, adding up and comparing leave."""
    np.testing.assert_array_equal(
        _keep(weights, params.top_k, params.top_p, params.min_p), _by_definition(weights, params)
    )


@given(weights=weights_of)
def test_every_filter_is_the_identity_at_its_neutral_setting(weights: Array) -> None:
    """Keeping 0 or V, a share of 1, or a minimum of 0 changes nothing."""
    for k in (0, len(weights), len(weights) + 3):
        np.testing.assert_array_equal(_keep(weights, top_k=k), weights)


@given(weights=weights_of, params=params_of)
def test_filters_keep_a_subset_and_its_odds(weights: Array, params: SamplingParams) -> None:
    """Something is kept, and what is kept is as it was."""
    left = _keep(weights, params.top_k, params.top_p, params.min_p)
    kept = sorted(_kept(left))
    assert kept
    np.testing.assert_array_equal(left[kept], weights[kept])


@pytest.mark.parametrize(
    ("name", "settings_", "tighter_is_smaller"),
    [("top_k", st.integers(1, 30), True), ("top_p", shares, True), ("min_p", shares, False)],
    ids=["top_k", "top_p", "min_p"],
)
@given(data=st.data(), weights=weights_of)
def test_a_tighter_setting_keeps_no_more(
    name: str, settings_: st.SearchStrategy[float], tighter_is_smaller: bool, data: st.DataObject, weights: Array
) -> None:
    """A smaller k, a smaller top_p and a larger min_p keep a subset of what a looser one keeps."""
    one, other = data.draw(settings_), data.draw(settings_)
    tight, loose = sorted((one, other), reverse=not tighter_is_smaller)
    assert _kept(_keep(weights, **{name: tight})) <= _kept(_keep(weights, **{name: loose}))


@pytest.mark.parametrize(("share", "kept"), [(0.5, {2}), (0.5001, {2, 0}), (0.75, {2, 0}), (0.8, {2, 0, 1})])
def test_top_p_stops_where_the_share_is_reached_exactly(share: float, kept: set[int]) -> None:
    """A share that some probabilities meet exactly takes no more of them, and of equals the first."""
    assert _kept(_keep(np.array([0.25, 0.125, 0.5, 0.125], np.float32), top_p=share)) == kept


@given(logits=logits_of, temperature=st.floats(0.05, 20))
def test_weights_are_the_softmax(logits: Array, temperature: float) -> None:
    """Without filters, p is exp(logit / temperature) over the sum of all."""
    _, weights = _draw(logits, SamplingParams(temperature, 0, 1.0, 0.0), 0.5)
    exact = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    np.testing.assert_allclose(weights / weights.sum(), exact / exact.sum(), rtol=0, atol=1e-5)


@given(logits=logits_of, data=st.data())
def test_the_negative_log_likelihood_is_that_of_the_softmax(logits: Array, data: st.DataObject) -> None:
    """It is -log p at temperature 1."""
    index = data.draw(st.integers(0, len(logits) - 1))
    wide = logits.astype(np.float64)
    exact = np.log(np.exp(wide - wide.max()).sum()) + wide.max() - wide[index]
    assert negative_log_likelihood(logits, index, np.empty(len(logits), np.float32)) == pytest.approx(
        exact, rel=1e-6, abs=1e-6
    )


@given(logits=logits_of, number=st.floats(0, 1, exclude_max=True))
def test_temperature_zero_takes_the_most_likely(logits: Array, number: float) -> None:
    """At temperature 0 the first of the largest logits is drawn."""
    assert _draw(logits, SamplingParams(0.0, 0, 1.0, 0.0), number)[0] == logits.tolist().index(max(logits.tolist()))


@pytest.mark.parametrize("temperature", [1e-5, 1e-45, 1e-320])
@pytest.mark.parametrize("number", [0.0, 0.5, np.nextafter(1.0, 0.0)])
def test_the_lowest_temperatures_still_draw(temperature: float, number: float) -> None:
    """A temperature just above 0 takes the most likely id."""
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    assert _draw(logits, SamplingParams(temperature, 0, 1.0, 0.0), number)[0] == 1


@settings(max_examples=40)
@given(weights=weights_of)
def test_numbers_are_mapped_to_ids_by_their_weight(weights: Array) -> None:
    """Of n evenly spaced numbers, within one in n of its share go to each id, and none to an id without weight."""
    n = 400
    ids = [invert_cdf(weights, (place + 0.5) / n) for place in range(n)]
    share = np.bincount(ids, minlength=len(weights)) / n
    assert set(ids) <= _kept(weights)
    assert np.abs(share - weights / weights.sum()).max() <= 1 / n + 1e-12
    assert ids == sorted(ids)


@given(weights=weights_of, number=st.floats(0, 1, exclude_max=True))
def test_an_id_without_weight_is_never_drawn(weights: Array, number: float) -> None:
    """Every number of [0, 1), its ends too, draws an id with a weight above 0."""
    for each in (number, 0.0, np.nextafter(1.0, 0.0)):
        assert weights[invert_cdf(weights, each)] > 0


def test_logits_of_nan_still_draw_an_id() -> None:
    """A network whose logits are NaN draws an id of the vocabulary, and does not crash."""
    logits = np.full(5, np.nan, np.float32)
    for params in (PLAIN, SamplingParams(0.5, 2, 0.5, 0.5), SamplingParams(0.0, 0, 1.0, 0.0)):
        assert 0 <= _draw(logits, params, 0.7)[0] < 5


def test_the_random_numbers_are_those_of_splitmix() -> None:
    """The first numbers of key 1234567 are those that Vigna's reference program prints."""
    printed = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    got = [uniform(np.uint64(1234567), place) for place in range(3)]
    assert got == [(number >> 11) * 2.0**-53 for number in printed]


def test_the_random_numbers_are_uniform() -> None:
    """Over many keys and places, sixteen equal parts of [0, 1) are hit equally: chi-square below its 99.9 % point."""
    numbers = np.array([uniform(np.uint64(key), place) for key in range(100) for place in range(100)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    hits = np.bincount((numbers * 16).astype(int), minlength=16)
    assert ((hits - 625) ** 2 / 625).sum() < 37.7
