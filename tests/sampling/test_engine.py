import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.evaluation.score import score_ids
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Choice, Engine, Filters
from nextchar.sampling.filters import log_softmax
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def _write(
    lm: LanguageModel, size: int, filters: Filters, seed: int = 0, prompt: tuple[int, ...] = ()
) -> list[Choice]:
    choices = Engine(to_file(lm)).write(prompt, filters, np.random.default_rng(seed))
    return [choice for _, choice in zip(range(size), choices, strict=False)]


@EVERY_CELL
def test_the_engine_charges_what_evaluation_scores(corpus: Corpus, text: str, cell: Cell) -> None:
    """The score of a text is the sum of the engine's nats for it."""
    lm = make_model(corpus.vocabulary, cell=cell)
    ids = corpus.vocabulary.encode(text[:3000])
    score = score_ids(lm.network, ids, lm.vocabulary)
    nats = Engine(to_file(lm)).nats(ids)
    assert nats.shape == (3000,)
    assert score.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)


@EVERY_CELL
def test_nats_are_those_of_reading_one_by_one(cell: Cell) -> None:
    """What a text costs is what each step of reading it from START costs."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    ids = np.random.default_rng(0).integers(0, 13, 30)
    logits, state = engine.begin()
    expected = []
    for index in ids:
        expected.append(-float(log_softmax(logits)[index]))
        rows, state = engine.read([index], state)
        logits = rows[0]
    np.testing.assert_allclose(engine.nats(ids), expected, rtol=0, atol=1e-12)


def test_a_text_of_nothing_costs_nothing() -> None:
    """An empty text has no nats."""
    assert Engine(to_file(make_model(VOCABULARY))).nats([]).shape == (0,)


@EVERY_CELL
def test_a_prompt_is_read_after_start(cell: Cell) -> None:
    """Beginning with a prompt is reading START and then the prompt from the empty state."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    logits, state = engine.begin([3, 1, 2])
    _, empty = engine.begin()
    rows, after = engine.read([3, 1, 2], empty)
    np.testing.assert_array_equal(logits, rows[-1])
    np.testing.assert_array_equal(state, after)


@EVERY_CELL
def test_without_temperature_the_likeliest_path_of_torch_is_written(cell: Cell) -> None:
    """At temperature 0 every character is the argmax of the torch network stepped beside it."""
    lm = make_model(VOCABULARY, cell=cell)
    expected = []
    with torch.no_grad():
        state, index = lm.network.empty_state(1), VOCABULARY.start
        for _ in range(150):
            logits, state = lm.network(torch.tensor([[index]]), state)
            index = int(logits[0, 0].argmax())
            expected.append(index)
    assert [choice.id for choice in _write(lm, 150, Filters(temperature=0))] == expected


@pytest.mark.parametrize("filters", [Filters(), Filters(temperature=0), Filters(0.5, top_k=3), Filters(3.0)])
def test_a_choice_costs_what_the_unfiltered_model_says(filters: Filters) -> None:
    """The nats of a choice are those of the model itself, whatever the filters."""
    lm = make_model(VOCABULARY)
    choices = _write(lm, 60, filters, prompt=(1, 2))
    ids = [1, 2, *(choice.id for choice in choices)]
    nats = [choice.nats for choice in choices]
    np.testing.assert_allclose(nats, Engine(to_file(lm)).nats(ids)[2:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("filters", [Filters(), Filters(temperature=0), Filters(top_k=1)])
def test_every_character_takes_one_random_number(filters: Filters) -> None:
    """After n characters the random stream stands n numbers on, whatever the filters."""
    random = np.random.default_rng(5)
    choices = Engine(to_file(make_model(VOCABULARY))).write((), filters, random)
    for _ in range(20):
        next(choices)
    assert random.random() == np.random.default_rng(5).random(21)[-1]


def test_filters_bound_what_is_written() -> None:
    """With top_k = 2 every choice is one of the model's two likeliest."""
    lm = make_model(VOCABULARY)
    engine = Engine(to_file(lm))
    logits, state = engine.begin()
    ranks = set()
    for choice in _write(lm, 200, Filters(top_k=2)):
        ranks.add(np.argsort(-logits).tolist().index(choice.id))
        rows, state = engine.read([choice.id], state)
        logits = rows[0]
    assert ranks == {0, 1}


def test_writing_follows_the_distribution_of_the_model() -> None:
    """Over many seeds the first character comes as often as the model says, within five standard errors."""
    engine = Engine(to_file(make_model(VOCABULARY)))
    logits, _ = engine.begin()
    p, n = np.exp(log_softmax(logits)), 2000
    random = np.random.default_rng(0)
    first = [next(engine.write((), Filters(), random)).id for _ in range(n)]
    share = np.bincount(first, minlength=13) / n
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n) + 1 / n).all()
