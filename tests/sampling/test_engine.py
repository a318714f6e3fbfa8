import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.errors import ConfigError
from nextchar.evaluation.score import score_ids
from nextchar.kernels.packing import StreamState
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine, Filters, Group
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def _predicted(state: StreamState) -> np.ndarray:
    """Return the logits of what comes next, `(V,)`."""
    return state.logits[0, : len(VOCABULARY)]


def _write(
    lm: LanguageModel, size: int, filters: Filters, key: int = 0, prompt: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and nats of one text, each `(T,)`."""
    engine = Engine(to_file(lm))
    group = Group(engine, 1, filters)
    group.add(engine.begin(prompt), key)
    ids, nats = group.write(size)
    return ids[:, 0], nats[:, 0]


@EVERY_CELL
def test_the_engine_charges_what_evaluation_scores(corpus: Corpus, text: str, cell: Cell) -> None:
    """The score of a text is the sum of the engine's nats for it."""
    lm = make_model(corpus.vocabulary, cell=cell)
    ids = corpus.vocabulary.encode(text[:5000])
    score = score_ids(lm.network, ids, lm.vocabulary)
    nats = Engine(to_file(lm)).nats(ids)
    assert nats.shape == (5000,)
    assert score.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)


@EVERY_CELL
def test_nats_are_those_of_reading_one_by_one(cell: Cell) -> None:
    """What a text costs is what each step of reading it from START costs."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    ids = np.random.default_rng(0).integers(0, 13, 30)
    state = engine.begin()
    expected = []
    for index in ids:
        logits = _predicted(state).astype(np.float64)
        expected.append(np.log(np.exp(logits).sum()) - logits[index])
        _, state = engine.read([index], state)
    np.testing.assert_allclose(engine.nats(ids), expected, rtol=1e-6, atol=1e-6)


def test_a_text_of_nothing_costs_nothing() -> None:
    """An empty text has no nats."""
    assert Engine(to_file(make_model(VOCABULARY))).nats([]).shape == (0,)


@EVERY_CELL
def test_a_prompt_is_read_after_start(cell: Cell) -> None:
    """Beginning with a prompt is reading START and then the prompt from the empty state."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    rows, after = engine.read([3, 1, 2], engine.begin())
    for one, other in zip(engine.begin([3, 1, 2]), after, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(_predicted(after), rows[-1])


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
    assert _write(lm, 150, Filters(temperature=0))[0].tolist() == expected


@pytest.mark.parametrize("filters", [Filters(), Filters(temperature=0), Filters(0.5, top_k=3), Filters(3.0)])
def test_a_choice_costs_what_the_unfiltered_model_says(filters: Filters) -> None:
    """The nats of a choice are those of the model itself, whatever the filters."""
    lm = make_model(VOCABULARY)
    ids, nats = _write(lm, 60, filters, prompt=(1, 2))
    np.testing.assert_array_equal(nats, Engine(to_file(lm)).nats([1, 2, *ids])[2:])


def test_filters_bound_what_is_written() -> None:
    """With top_k = 2 every choice is one of the model's two likeliest."""
    lm = make_model(VOCABULARY)
    engine = Engine(to_file(lm))
    state = engine.begin()
    ranks = set()
    for index in _write(lm, 200, Filters(top_k=2))[0]:
        ranks.add(np.argsort(-_predicted(state)).tolist().index(index))
        _, state = engine.read([index], state)
    assert ranks == {0, 1}


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_writing_follows_the_distribution_of_the_model(temperature: float) -> None:
    """Over 4,000 keys the first character comes as the softmax says: chi-square below its 99.9 % point."""
    engine = Engine(to_file(make_model(VOCABULARY)))
    state, n = engine.begin(), 4000
    group = Group(engine, n, Filters(temperature))
    for key in range(n):
        group.add(state, key)
    ids, _ = group.write(1)
    p = np.exp(_predicted(state).astype(np.float64) / temperature)
    expected = n * p / p.sum()
    seen = np.bincount(ids[0], minlength=13)
    # Classes of fewer than five are taken together.
    rare = expected < 5
    pairs = [*zip(seen[~rare], expected[~rare], strict=True), (seen[rare].sum(), expected[rare].sum())]
    assert sum((s - e) ** 2 / e for s, e in pairs if e) < 32.9


def test_a_lane_that_is_dropped_leaves_the_others_as_they_were() -> None:
    """When texts end and others begin in their place, every text is what it is alone."""
    engine = Engine(to_file(make_model(VOCABULARY)))
    alone = {}
    for key in range(6):
        group = Group(engine, 1, Filters())
        group.add(engine.begin(), key)
        alone[key] = group.write(20)[0][:, 0].tolist()
    group, texts = Group(engine, 3, Filters()), [(0, []), (1, []), (2, [])]
    for key, _ in texts:
        group.add(engine.begin(), key)
    for waiting in (3, 4, 5):
        for (_, text), ids in zip(texts, group.write(5)[0].T, strict=True):
            text.extend(ids.tolist())
        group.drop(0)
        assert texts[0][1] == alone[texts[0][0]][: len(texts[0][1])]
        texts[0] = texts.pop()
        group.add(engine.begin(), waiting)
        texts.append((waiting, []))
    for key, text in texts:
        assert text == alone[key][: len(text)]


def test_writing_pauses_after_an_id_to_look_at() -> None:
    """A call ends after the step in which any lane chose such an id, and goes on as if it had not."""
    engine = Engine(to_file(make_model(VOCABULARY)))
    free = Group(engine, 2, Filters())
    watched = Group(engine, 2, Filters(), ends=[4])
    for group in (free, watched):
        group.add(engine.begin(), 1)
        group.add(engine.begin(), 2)
    whole, _ = free.write(60)
    first, _ = watched.write(60)
    size = len(first)
    assert 0 < size < 60
    assert 4 in first[-1]
    assert 4 not in first[:-1]
    np.testing.assert_array_equal(first, whole[:size])
    second, _ = watched.write(1)
    np.testing.assert_array_equal(second, whole[size : size + 1])


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
