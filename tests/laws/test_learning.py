"""Text, training, evaluation and sampling together: networks learn, and the rooms agree about what they learnt."""

import math

import numpy as np
import pytest

from nextchar.architecture import Cell
from nextchar.config import Config
from nextchar.evaluation.score import evaluate, score_ids
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.training.run import train

SMALL = Config(
    steps=250, hidden=32, embedding=16, batch_size=8, seq_length=32, learning_rate=8e-3, dropout=0.0, warmup=10
)


@pytest.fixture(scope="module")
def trained(text: str) -> LanguageModel:
    """Return a model trained for a few hundred steps."""
    return train(Corpus.from_text(text), SMALL)


def test_it_learns(trained: LanguageModel, text: str) -> None:
    """A few hundred steps bring the loss on unseen text far below that of a uniform guess."""
    unseen = text[int(len(text) * 0.95) :]
    assert evaluate(trained, unseen).nats_per_char < 0.7 * math.log(len(trained.vocabulary))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_learns(cell: Cell, corpus: Corpus) -> None:
    """The same training loop trains the other cells."""
    lm = train(corpus, SMALL.replace(cell=cell, steps=120, learning_rate=4e-3))
    ids = corpus.part("valid", 0.05, 0.05).take(0, 1000)
    assert score_ids(lm.network, ids, lm.vocabulary).nats_per_char < 0.8 * math.log(len(lm.vocabulary))


@pytest.mark.slow
def test_windows_are_not_much_worse_than_the_stream(trained: LanguageModel, text: str) -> None:
    """Windows of 64 from the empty state have at most 0.25 nats more loss than the carried state."""
    unseen = text[int(len(text) * 0.9) :]
    stream = evaluate(trained, unseen).nats_per_char
    windows = evaluate(trained, unseen, protocol="windows", window=64).nats_per_char
    assert windows < stream + 0.25


@pytest.mark.slow
def test_resets_of_the_state_teach_the_first_character(text: str) -> None:
    """Resets of the state during training train START: without them the first character is predicted worse."""
    firsts = list(text[100:2100:10])
    with_resets, without = (train(Corpus.from_text(text), SMALL.replace(state_reset_prob=prob)) for prob in (0.2, 0.0))
    losses = (np.mean([evaluate(lm, first).nats_per_char for first in firsts]) for lm in (with_resets, without))
    first_with, first_without = losses
    assert first_with < first_without - 0.05


def test_evaluation_agrees_with_the_compiled_engine(trained: LanguageModel, text: str) -> None:
    """The score of a text is the mean of the losses that the compiled engine computes for its characters."""
    ids = trained.vocabulary.encode(text[:700])
    losses = CompiledNetwork(to_file(trained)).read(ids)[0]
    assert losses.mean() == pytest.approx(evaluate(trained, text[:700]).nats_per_char, abs=1e-5)


def test_bytes_and_characters_agree_on_ascii(text: str) -> None:
    """Training on an ASCII text as bytes or as characters gives the same scores."""
    few = SMALL.replace(steps=10)
    plain = text.encode("ascii", "ignore").decode()
    characters = train(Corpus.from_text(plain), few)
    byte = train(Corpus.from_text(plain.encode(), "bytes"), few.replace(units="bytes"))
    assert evaluate(characters, plain[:500]).nats_per_char == evaluate(byte, plain[:500]).nats_per_char
