"""Reach: gradients compared with finite differences, losses compared with truncated texts."""

import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS
from nextchar.errors import TextError
from nextchar.inspection.reach import CONTEXTS, reach
from nextchar.language_model import LanguageModel
from nextchar.text.corpus import Corpus


def _log_p(lm: LanguageModel, ids: np.ndarray) -> float:
    """Return ln p of the last character after all before it."""
    inputs = torch.tensor([lm.vocabulary.start, *ids[:-1].tolist()])[:, None]
    with torch.no_grad():
        logits, _ = lm.network(inputs, lm.network.empty_state(1))
    return float(logits[-1, 0].log_softmax(0)[int(ids[-1])])


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_is_that_of_finite_differences(cell: str) -> None:
    """Where every character comes once, moving its vector moves one input: in double precision both agree to 1e-5."""
    letters = "abcdefghijkl"
    lm = make_model(Corpus.from_text(letters).vocabulary, cell=cell)
    lm.network.double()
    ids = lm.vocabulary.encode(letters)
    found = reach(lm, letters, places=1)
    assert found.places.tolist() == [11]
    step, weight = 1e-5, lm.network.embedding.weight
    for distance in (1, 2, 5, 11):
        index, slopes = int(ids[11 - distance]), []
        for axis in range(weight.shape[1]):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    weight[index, axis] += sign * step
                    sides.append(_log_p(lm, ids))
                    weight[index, axis] -= sign * step
            slopes.append((sides[0] - sides[1]) / (2 * step))
        assert found.gradient[0, distance - 1] == pytest.approx(np.linalg.norm(slopes), rel=1e-5)


@pytest.mark.slow
def test_a_state_is_found_again_in_the_middle_of_a_text(lm: LanguageModel, text: str) -> None:
    """A gradient that begins far into a text begins from what was read before, not from nothing."""
    found = reach(lm, text[:900], places=3, distance=20)
    assert found.gradient.shape == (3, 20)
    alone = reach(lm, text[900 - 21 : 900], places=1, distance=20)
    whole = reach(lm, text[:900], places=1000, distance=20)
    assert whole.places[-1] == found.places[-1] == 899
    np.testing.assert_allclose(found.gradient[-1], whole.gradient[-1], rtol=1e-3, atol=1e-9)
    assert not np.allclose(found.gradient[-1], alone.gradient[-1], rtol=1e-3)


def test_the_increase_is_that_of_truncated_texts(lm: LanguageModel, text: str) -> None:
    """The increase for k characters of context is the loss of texts that begin there minus that of the whole text."""
    length, distance = 60, 9
    ids = lm.vocabulary.encode(text[:length])
    found = reach(lm, text[:length], distance=distance)
    starts = range(distance + 1, length - distance)
    whole = [-_log_p(lm, ids[: end + 1]) for end in range(length)]
    assert found.loss == pytest.approx(np.mean(whole), abs=1e-5)
    for index, context in enumerate(found.contexts):
        end = found.contexts[index + 1] if index + 1 < len(found.contexts) else distance + 1
        costs = [-_log_p(lm, ids[s : s + k + 1]) - whole[s + k] for k in range(context, end) for s in starts]
        assert found.cost[index] == pytest.approx(np.mean(costs), abs=1e-5)
        assert found.error[index] > 0


def test_a_network_that_knows_only_the_last_character_reaches_one_back(text: str) -> None:
    """Without recurrence, and with its forget gates shut, nothing but the last character matters."""
    lm = make_model(Corpus.from_text(text).vocabulary)
    with torch.no_grad():
        for layer in lm.network.layers:
            layer.weight_hh.zero_()
            layer.weight_ih[8:16] = 0
            layer.bias_ih[8:16] = -200
    found = reach(lm, text[:3000], places=20)
    assert (found.gradient[:, 0] > 0).all()
    assert found.gradient[:, 1:].max() == 0
    assert found.half().tolist() == [1] * 20
    np.testing.assert_allclose(found.cost[1:], 0, atol=1e-5)
    assert found.cost[0] > 0.01
    assert found.enough == 1
    assert found.contexts.tolist() == list(CONTEXTS)


def test_a_short_text_is_looked_back_in_as_far_as_it_goes(lm: LanguageModel) -> None:
    """Two characters are enough, one is not."""
    found = reach(lm, "de")
    assert (found.places.tolist(), found.gradient.shape) == ([1], (1, 1))
    assert found.contexts.tolist() == [0, 1]
    with pytest.raises(TextError, match="at least 2"):
        reach(lm, "d")
