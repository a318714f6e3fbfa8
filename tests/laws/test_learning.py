"""Laws that cross rooms: text, training, evaluation and sampling together."""

import math

import numpy as np
import pytest

from nextchar.architecture import Cell
from nextchar.config import Config
from nextchar.evaluation.score import evaluate, score_ids
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.training.trainer import train

SMALL = Config(
    steps=250,
    hidden=32,
    embedding=16,
    batch_size=8,
    seq_length=32,
    learning_rate=8e-3,
    dropout=0.0,
    warmup=10,
)


@pytest.fixture(scope="module")
def trained(text: str) -> LanguageModel:
    """Return a model that has learnt a little."""
    return train(Corpus.from_text(text), SMALL)


def test_it_learns(trained: LanguageModel, text: str) -> None:
    """A few hundred steps bring the score of unseen text far below that of a guess."""
    unseen = text[int(len(text) * 0.95) :]
    assert evaluate(trained, unseen).nats_per_char < 0.7 * math.log(len(trained.vocabulary))


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_every_cell_learns(cell: Cell, corpus: Corpus) -> None:
    """The other recurrences learn by the same loop."""
    lm = train(corpus, SMALL.replace(cell=cell, steps=120, learning_rate=4e-3))
    ids = corpus.part("valid", 0.05, 0.05).take(0, 1000)
    assert score_ids(lm.network, ids, lm.vocabulary).nats_per_char < 0.8 * math.log(len(lm.vocabulary))


def test_a_cold_start_is_not_much_worse(trained: LanguageModel, text: str) -> None:
    """Windows of 64 from the empty state cost at most 0.25 nats more than the carried state: beginning is learnt."""
    unseen = text[int(len(text) * 0.9) :]
    stream = evaluate(trained, unseen).nats_per_char
    cold = evaluate(trained, unseen, protocol="windows", window=64).nats_per_char
    assert cold < stream + 0.25


def test_without_cold_starts_the_network_never_learns_to_begin(text: str) -> None:
    """What a model knows of START comes from cold starts: without them its first character is a worse guess."""
    firsts = list(text[100:2100:10])
    often, never = (
        train(Corpus.from_text(text), SMALL.replace(state_reset_prob=chance)) for chance in (0.2, 0.0)
    )
    taught, untaught = (
        np.mean([evaluate(lm, first).nats_per_char for first in firsts]) for lm in (often, never)
    )
    assert taught < untaught - 0.05


def test_evaluation_is_the_sum_of_what_the_engine_pays(trained: LanguageModel, text: str) -> None:
    """The score of a text is the mean of the compiled engine's costs of its characters."""
    ids = trained.vocabulary.encode(text[:700])
    costs = Engine(to_file(trained)).nats(ids)
    assert costs.mean() == pytest.approx(evaluate(trained, text[:700]).nats_per_char, abs=1e-5)


def test_bytes_and_characters_agree_on_ascii(text: str) -> None:
    """The same ASCII text learnt as bytes or as characters gives the same weights and scores."""
    few = SMALL.replace(steps=10)
    plain = text.encode("ascii", "ignore").decode()
    characters = train(Corpus.from_text(plain), few)
    byte = train(Corpus.from_text(plain.encode(), "bytes"), few.replace(units="bytes"))
    assert evaluate(characters, plain[:500]).nats_per_char == evaluate(byte, plain[:500]).nats_per_char
