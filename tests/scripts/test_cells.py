import inspect
import math

import numpy as np
import pytest
import torch

import cells
from nextchar.architecture import Architecture
from nextchar.config import compose
from nextchar.evaluation.score import score_ids
from nextchar.model.cells import Weights, lstm
from nextchar.model.network import Network, initialize
from nextchar.model.reading import MIN_DEPTH
from nextchar.model.recurrence import reference
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

SHAPE = Architecture(hidden=12, embedding=7)
IDS = torch.arange(10).reshape(5, 2) % 6


@pytest.mark.parametrize("kind", ["lstm", "mogrifier, 2 rounds", "mogrifier, 5 rounds"])
def test_a_mogrifier_begins_as_the_lstm(kind: str) -> None:
    """Before training it is the same network as the reference."""
    plain, varied = Network(SHAPE, 6), cells.Varied(SHAPE, 6, kind, 3)
    initialize(plain, torch.Generator().manual_seed(3))
    logits, state = varied(IDS, varied.empty_state(2))
    expected, expected_state = plain(IDS, plain.empty_state(2), None, reference)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(state, expected_state)


def test_a_mogrifier_scales_in_turns() -> None:
    """The input is scaled by the hidden state, then that by the new input: computed by hand for one unit."""
    step = cells.Mogrifier(1, 1, 2)
    with torch.no_grad():
        step.rounds[0].weight.fill_(1.5)
        step.rounds[1].weight.fill_(-0.5)
    x, hidden, cell = 0.8, 0.3, -0.2
    x = 2 / (1 + math.exp(-1.5 * hidden)) * x
    hidden = 2 / (1 + math.exp(0.5 * x)) * hidden
    weights = Weights(torch.randn(4, 1), torch.randn(4, 1), torch.randn(4), torch.randn(4))
    given = torch.tensor([[0.8]]), (torch.tensor([[0.3]]), torch.tensor([[-0.2]]))
    expected = lstm(torch.tensor([[x]]), (torch.tensor([[hidden]]), torch.tensor([[cell]])), weights)[0]
    torch.testing.assert_close(step(*given, weights), expected)


def test_layer_normalisation_ignores_scale() -> None:
    """Ten times the weights give the same step."""
    step = cells.Normalised(5)
    torch.manual_seed(1)
    weights = Weights(torch.randn(20, 3), torch.randn(20, 5), torch.randn(20), torch.randn(20))
    larger = weights._replace(weight_ih=10 * weights.weight_ih, weight_hh=10 * weights.weight_hh)
    given = torch.randn(4, 3), (torch.randn(4, 5), torch.randn(4, 5))
    torch.testing.assert_close(step(*given, weights), step(*given, larger), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_varied_network_is_scored_side_by_side_as_in_one_reading() -> None:
    """Scored in parallel parts, it has the score of one reading."""
    network = cells.Varied(SHAPE, 6, "lstm", 0)
    with torch.no_grad():
        for layer in network.layers:
            layer.weight_hh.zero_()
            layer.bias_ih[12:24] = -1e4  # forgets everything
    ids = np.random.default_rng(0).integers(0, 6, 2 * MIN_DEPTH)
    read = torch.from_numpy(ids)[:, None]
    start = torch.cat([torch.tensor([[6]]), read[:-1]])
    with torch.no_grad():
        logits, _ = network(start, network.empty_state(1))
    expected = torch.nn.functional.cross_entropy(logits[:, 0], read[:, 0])
    vocabulary = Vocabulary("characters", tuple(map(ord, "abcdef")))
    score = score_ids(network, ids, vocabulary)
    assert score.nats_per_char == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(cells.STEPS))
def test_every_kind_learns(kind: str) -> None:
    """Forty short steps lower the loss by 10 % or more."""
    corpus = Corpus.from_text(inspect.getsource(inspect)[:40_000])
    config, _ = compose(
        {"steps": 40, "hidden": 16, "valid": cells.VALID, "test": 0.0, "batch_size": 8, "seq_length": 16}
    )
    size, milliseconds, nats = cells.train(corpus, config, kind)
    assert nats < 0.9 * math.log(len(corpus.vocabulary))
    assert size > 0 < milliseconds
