"""States in bytes: exact to the trace, whatever is never forgotten; and the two halves of a text."""

import numpy as np

from discovery.golden import golden_text
from inspection.handset import DEPTH, expected_cells, golden_model
from nextchar.discovery.states import States, quantize, read_states, split
from nextchar.inspection.trace import trace
from nextchar.language_model import LanguageModel


def test_states_are_exact_for_a_counter_that_never_forgets() -> None:
    """Parts that are read in parallel hold the depth that counting over the whole text gives."""
    text = golden_text(20_000)
    states = read_states(lm := golden_model(), lm.vocabulary.encode(text))
    depth = np.array(expected_cells(text))[:, DEPTH]
    np.testing.assert_allclose(states.values([DEPTH], np.arange(len(text)))[0], np.tanh(depth), atol=2e-3)


def test_states_are_those_of_the_trace(lm: LanguageModel, text: str) -> None:
    """What is kept is tanh c to half a level, and the surprisal is that of the trace."""
    ids = lm.vocabulary.encode(text[:9000])
    states, seen = read_states(lm, ids), trace(lm, ids, signals=["tanh_c"])
    values = np.concatenate([seen.values[layer]["tanh_c"] for layer in (0, 1)], axis=1).T
    level = (states.levels[:, 1] - states.levels[:, 0])[:, None]
    kept = states.values(range(len(states.units)), np.arange(len(ids)))
    assert (np.abs(kept - values) <= 0.51 * level + 1e-3).all()
    np.testing.assert_allclose(states.surprisal, seen.surprisal, atol=1e-3)


def test_ranks_are_even_for_even_values() -> None:
    """A unit at rest is in the middle of its own order, one that moves is spread over it."""
    values = np.stack([np.zeros(100), np.repeat([0.0, 1.0], 50)]).astype(np.float32)
    codes, levels = quantize(values)
    kept = States(((0, 0), (0, 1)), codes, levels, np.zeros(100))
    ranks = kept.ranks(np.arange(100)).numpy()
    np.testing.assert_allclose(ranks[0], 0.5)
    np.testing.assert_allclose(ranks[1], np.repeat([0.25, 0.75], 50))
    np.testing.assert_allclose(kept.standardized(np.arange(100)).numpy()[1], np.repeat([-1.0, 1.0], 50))


def test_halves_do_not_touch() -> None:
    """Fit and held-out places are apart by the gap, and both are half of the text."""
    halves = split(50_000)
    assert not np.intersect1d(halves.fit, halves.held).size
    assert np.abs(halves.fit[:, None] - halves.held[::50]).min() > 400
    assert halves.gap == 500
    assert len(halves.fit) == len(halves.held) == 22_500
