import inspect
import json

import numpy as np
import pytest
import torch

import nextchar
from nextchar.evaluation.calibrate import calibrate
from nextchar.storage import ModelFile, to_file, to_language_model
from nextchar.text.corpus import Corpus
from nextchar.training.start import make_trainer


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Return some code."""
    return Corpus.from_text(inspect.getsource(json) + inspect.getsource(inspect)[:60_000])


@pytest.fixture(scope="module")
def trained(corpus: Corpus) -> ModelFile:
    """Return a small model, as it was trained."""
    return to_file(nextchar.train(corpus, nextchar.Config(steps=60, hidden=32, calibrate=False)))


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.6])
def test_the_samples_of_a_network_calibrate_it(trained: ModelFile, factor: float) -> None:
    """A network whose head was scaled is scaled back by samples of the original."""
    written = nextchar.sample(trained, "", nextchar.SampleOptions(length=512, seed=1), count=32)
    text = Corpus.from_text("".join(each.text for each in written)).in_vocabulary(trained.vocabulary)
    network = to_language_model(trained).network
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.mul_(factor)
    assert calibrate(network, text) == pytest.approx(factor, rel=0.03)
    np.testing.assert_allclose(network.head.weight.detach(), trained.arrays["head.weight"], rtol=0.03)


@pytest.mark.parametrize("length", [1, 2, 30])
def test_a_few_characters_change_little(trained: ModelFile, length: int) -> None:
    """However well or badly they are predicted, the network hardly changes."""
    network = to_language_model(trained).network
    text = Corpus.from_text("q" * length).in_vocabulary(trained.vocabulary)
    assert calibrate(network, text) == pytest.approx(1, abs=0.05 * length)


@pytest.mark.slow
def test_the_kept_model_is_calibrated_and_the_training_network_is_not() -> None:
    """It has the trained weights but for the head, and a smaller loss; calibrating it again changes nothing."""
    short = Corpus.from_text(inspect.getsource(inspect)[:8000])
    given = nextchar.Config(steps=150, hidden=64, batch_size=8, seq_length=32, dropout=0.0, valid=0.2, test=0.0)
    plain, trainer = (make_trainer(short, given.replace(calibrate=each)) for each in (False, True))
    for each in (plain, trainer):
        assert list(each.events())
    own, other = trainer.best_model(), plain.best_model()
    temperature = own.provenance["temperature"]
    assert temperature > 1.02  # memorized, and therefore overconfident
    assert other.provenance["temperature"] == 1
    for name, array in other.arrays.items():
        factor = 1 / temperature if name.startswith("head") else 1.0
        np.testing.assert_allclose(own.arrays[name], factor * array, rtol=1e-6)
    assert own.provenance["valid"]["nats_per_char"] < other.provenance["valid"]["nats_per_char"]
    again = calibrate(to_language_model(own).network, short.part("valid", 0.2, 0.0))
    assert again == pytest.approx(1, abs=0.01)
    np.testing.assert_array_equal(trainer.snapshot().weights["head.weight"], other.arrays["head.weight"])
