"""What units have to do with each other and with the prediction, against the network itself."""

import numpy as np
import pytest
import torch

from conftest import make_model
from inspection.handset import LATCH, VOCABULARY, golden_model
from nextchar.inspection.relations import alone, correlations, direct_effect, in_likeness
from nextchar.language_model import LanguageModel
from nextchar.text.corpus import Corpus


def test_correlations_are_those_of_the_whole(random: np.random.Generator) -> None:
    """In pieces as at once; a unit is 1 with itself and 0 with what never moves."""
    rows = random.normal(size=(3000, 6)) @ random.normal(size=(6, 6)) + 5
    rows[:, 5] = 3
    whole = np.rint(rows * 20).astype(np.int8)
    found = correlations([whole[:700], whole[700:]], [4, 0, 5])
    expected = np.corrcoef(whole[:, :5].T.astype(float))
    np.testing.assert_allclose(found[:2, :5], expected[[4, 0]], atol=1e-5)
    assert found[2].tolist() == [0] * 6
    assert found[0, 4] == pytest.approx(1)


def test_like_stands_beside_like() -> None:
    """Each unit is followed by the one left that is most like it."""
    angles = np.array([0.0, 2.0, 0.3, 2.3, 0.6])
    assert in_likeness(np.cos(angles[:, None] - angles)) == [0, 2, 4, 1, 3]
    assert in_likeness(np.ones((1, 1))) == [0]


@pytest.mark.parametrize("summed", [True, False])
def test_the_direct_effect_is_what_the_head_makes_of_it(summed: bool, text: str) -> None:
    """Moving h of a layer that the head reads moves the logits by just so much, up to a constant."""
    lm = make_model(Corpus.from_text(text).vocabulary, sum_outputs=summed)
    effect = direct_effect(lm.network, 1)
    assert effect is not None
    total = torch.randn(1, 8)
    with torch.no_grad():
        before, after = lm.network.head(total), lm.network.head(total + 0.7 * torch.eye(8)[3])
    moved = (after - before)[0].numpy()
    np.testing.assert_allclose(0.7 * effect[:, 3], moved - moved.mean(), atol=1e-5)
    assert (direct_effect(lm.network, 0) is None) == (not summed)


def test_what_a_character_does_alone_is_its_row_of_weights(lm: LanguageModel) -> None:
    """From the empty state, a gate of the first layer is the sigmoid of W x + b."""
    with torch.no_grad():
        layer = lm.network.layers[0]
        sums = lm.network.embedding.weight[:-1] @ layer.weight_ih.T + layer.bias_ih + layer.bias_hh
    for index, gate in enumerate("ifgo"):
        block = sums[:, 8 * index : 8 * index + 8]
        expected = torch.tanh(block) if gate == "g" else torch.sigmoid(block)
        np.testing.assert_allclose(alone(lm.network)[gate], expected, atol=1e-6)


def test_the_latch_is_opened_by_its_bracket_alone() -> None:
    """Of all characters only [ opens the latch, and only ] shuts its forget gate."""
    found = alone(golden_model().network)
    opens = [chr(VOCABULARY.codes[index]) for index in np.flatnonzero(found["i"][:, LATCH] > 0.5)]
    shuts = [chr(VOCABULARY.codes[index]) for index in np.flatnonzero(found["f"][:, LATCH] < 0.5)]
    assert (opens, shuts) == (["["], ["]"])
