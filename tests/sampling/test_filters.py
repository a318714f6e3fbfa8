from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextchar.errors import ConfigError
from nextchar.sampling.engine import Filters
from nextchar.sampling.filters import draw, log_softmax, min_p, softmax, top_k, top_p

P = np.ndarray
Filter = Callable[[P, float], P]

# Whole weights, so that equals and zeros are common.
distributions = (
    st.lists(st.integers(0, 20), min_size=1, max_size=25)
    .filter(any)
    .map(lambda weights: np.array(weights) / sum(weights))
)
logits_of = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=25).map(
    lambda values: np.array(values, np.float32)
)
shares = st.floats(0.001, 1)


def _kept(p: P) -> set[int]:
    return set(np.flatnonzero(p).tolist())


def _check_subset(p: P, filtered: P) -> None:
    """Check that a filter kept some ids, their relative odds, and a sum of one, and left its input alone."""
    kept = sorted(_kept(filtered))
    assert kept
    assert set(kept) <= _kept(p)
    assert filtered.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(filtered[kept], p[kept] / p[kept].sum(), rtol=1e-12)


@given(p=distributions)
def test_every_filter_is_the_identity_at_its_neutral_setting(p: P) -> None:
    """Keeping 0 or V, a share of 1, or a minimum of 0 changes nothing."""
    for same in (top_k(p, 0), top_k(p, len(p)), top_k(p, len(p) + 3), top_p(p, 1.0), min_p(p, 0.0)):
        np.testing.assert_array_equal(same, p)


@pytest.mark.parametrize(
    ("function", "settings_"),
    [(top_k, st.integers(1, 30)), (top_p, shares), (min_p, shares)],
    ids=["top_k", "top_p", "min_p"],
)
@given(data=st.data(), p=distributions)
def test_a_filter_keeps_a_subset_and_its_odds(
    function: Filter, settings_: st.SearchStrategy[float], data: st.DataObject, p: P
) -> None:
    """What is kept sums to one at unchanged relative odds, and the input is not modified."""
    before = p.copy()
    _check_subset(p, function(p, data.draw(settings_)))
    np.testing.assert_array_equal(p, before)


@pytest.mark.parametrize(
    ("function", "settings_", "tighter_is_smaller"),
    [(top_k, st.integers(1, 30), True), (top_p, shares, True), (min_p, shares, False)],
    ids=["top_k", "top_p", "min_p"],
)
@given(data=st.data(), p=distributions)
def test_a_tighter_setting_keeps_no_more(
    function: Filter,
    settings_: st.SearchStrategy[float],
    tighter_is_smaller: bool,
    data: st.DataObject,
    p: P,
) -> None:
    """A smaller k, a smaller top_p and a larger min_p keep a subset of what a looser one keeps."""
    one, other = data.draw(settings_), data.draw(settings_)
    tight, loose = sorted((one, other), reverse=not tighter_is_smaller)
    assert _kept(function(p, tight)) <= _kept(function(p, loose))


@given(p=distributions, k=st.integers(1, 30))
def test_top_k_keeps_exactly_the_k_likeliest(p: P, k: int) -> None:
    """Exactly k ids remain (all, where fewer are possible), and none that went was likelier."""
    kept = _kept(top_k(p, k))
    assert len(kept) == min(k, len(_kept(p)))
    gone = _kept(p) - kept
    assert not gone or p[list(gone)].max() <= p[list(kept)].min()


@given(p=distributions, share=shares)
def test_top_p_keeps_the_fewest_that_reach_the_share(p: P, share: float) -> None:
    """The kept probabilities reach the share, and would not without the least of them."""
    kept = _kept(top_p(p, share))
    assert p[list(kept)].sum() >= share - 1e-12
    assert p[list(kept)].sum() - p[list(kept)].min() < share + 1e-12
    gone = _kept(p) - kept
    assert not gone or p[list(gone)].max() <= p[list(kept)].min()


@pytest.mark.parametrize(("share", "kept"), [(0.5, {2}), (0.5001, {2, 0}), (0.75, {2, 0}), (0.8, {2, 0, 1})])
def test_top_p_stops_where_the_share_is_reached_exactly(share: float, kept: set[int]) -> None:
    """A share that some probabilities meet exactly takes no more of them, and of equals the first."""
    p = np.array([0.25, 0.125, 0.5, 0.125])
    assert _kept(top_p(p, share)) == kept


@given(p=distributions, share=shares)
def test_min_p_keeps_what_is_likely_enough(p: P, share: float) -> None:
    """An id stays exactly if it is at least `share` times as likely as the likeliest."""
    assert _kept(min_p(p, share)) == {index for index, value in enumerate(p) if value >= share * max(p)}


@given(logits=logits_of)
def test_softmax_is_its_definition(logits: P) -> None:
    """At temperature 1, p is exp(logit) over the sum of all, and log_softmax its logarithm."""
    weights = np.array([np.exp(np.float64(value)) for value in logits])
    np.testing.assert_allclose(softmax(logits), weights / weights.sum(), rtol=1e-12)
    np.testing.assert_allclose(log_softmax(logits), np.log(weights / weights.sum()), rtol=0, atol=1e-9)


@given(logits=logits_of)
def test_temperature_zero_takes_the_likeliest(logits: P) -> None:
    """At temperature 0 the first of the largest logits has probability one."""
    p = softmax(logits, 0)
    assert _kept(p) == {logits.tolist().index(max(logits.tolist()))}
    assert p.sum() == 1


@given(logits=logits_of, low=st.floats(0.01, 10), high=st.floats(0.01, 10))
def test_a_lower_temperature_is_surer(logits: P, low: float, high: float) -> None:
    """The likeliest id never loses by cooling, and the order of ids stays."""
    low, high = sorted((low, high))
    cold, warm = softmax(logits, low), softmax(logits, high)
    assert cold.max() >= warm.max() - 1e-12
    assert (np.diff(cold[np.argsort(logits)]) >= 0).all()


@pytest.mark.parametrize("temperature", [1e-5, 1e-45, 1e-320])
def test_the_coldest_temperatures_are_still_distributions(temperature: float) -> None:
    """A temperature just above 0 puts all on the likeliest, without a warning."""
    np.testing.assert_array_equal(softmax(np.array([1.0, 3.0, 2.0], np.float32), temperature), [0, 1, 0])


@settings(max_examples=40)
@given(p=distributions)
def test_draw_maps_uniforms_to_ids_by_their_probability(p: P) -> None:
    """Of n evenly spaced uniforms, within one in n of a share p go to each id, and none to an impossible one."""
    n = 400
    ids = [draw(p, (place + 0.5) / n) for place in range(n)]
    share = np.bincount(ids, minlength=len(p)) / n
    assert set(ids) <= _kept(p)
    assert np.abs(share - p).max() <= 1 / n + 1e-12
    assert ids == sorted(ids)


@given(p=distributions, uniform=st.floats(0, 1, exclude_max=True))
def test_draw_never_returns_what_is_impossible(p: P, uniform: float) -> None:
    """Every number of [0, 1), its ends too, gives an id of the distribution that is possible."""
    for number in (uniform, 0.0, np.nextafter(1.0, 0.0)):
        assert p[draw(p, number)] > 0


@given(
    logits=logits_of, k=st.integers(0, 30), share=shares, least=st.floats(0, 1), temperature=st.floats(0, 5)
)
def test_filters_together_are_still_a_distribution(
    logits: P, k: int, share: float, least: float, temperature: float
) -> None:
    """All filters at once keep a subset of the softmax and its odds."""
    _check_subset(softmax(logits, temperature), Filters(temperature, k, share, least)(logits))


@given(logits=logits_of)
def test_filters_do_nothing_unless_told(logits: P) -> None:
    """The default filters are the softmax itself."""
    np.testing.assert_array_equal(Filters()(logits), softmax(logits))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -0.5),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("top_k", -3),
        ("top_p", 0.0),
        ("top_p", 1.25),
        ("min_p", -0.5),
        ("min_p", 1.5),
    ],
)
def test_what_is_no_setting_is_refused_by_name_and_value(setting: str, value: float) -> None:
    """An impossible setting raises an error that names it and its value."""
    with pytest.raises(ConfigError, match=f"^{setting} is {value:g}, but must be "):
        Filters(**{setting: value})  # type: ignore[arg-type]
