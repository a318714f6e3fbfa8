import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.errors import ConfigError
from nextchar.evaluation.score import evaluate, nats_of
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine, Filters, Group
from nextchar.sampling.ensemble import EnsembleEngine
from nextchar.sampling.sample import SampleOptions, sample, stream
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))


@pytest.fixture(scope="module")
def mixed() -> list[LanguageModel]:
    """Return three models of different cells, depths and sizes."""
    return [
        make_model(VOCABULARY, 0),
        make_model(VOCABULARY, 1, cell="gru", hidden=20, layers=1),
        make_model(VOCABULARY, 2, cell="rnn", hidden=70, layers=3, embedding=0),
    ]


def _engine(models: list[LanguageModel]) -> EnsembleEngine:
    return EnsembleEngine([to_file(lm) for lm in models])


def _write(
    models: list[LanguageModel], size: int, filters: Filters, prompt: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    engine = _engine(models)
    group = engine.group(1, filters)
    group.add(engine.begin(prompt), 7)
    ids, nats = group.write(size)
    return ids[:, 0], nats[:, 0]


def _mean_of_references(models: list[LanguageModel], ids: np.ndarray) -> np.ndarray:
    """Return the plain mean of the models' probabilities before each id and after the last, `(T + 1, V)`."""
    inputs = torch.from_numpy(np.concatenate([[VOCABULARY.start], ids]))[:, None]
    with torch.no_grad():
        rows = [lm.network(inputs, lm.network.empty_state(1))[0][:, 0].double().softmax(1) for lm in models]
    return torch.stack(rows).mean(0).numpy()


def test_what_is_written_costs_the_mean_of_the_probabilities(mixed: list[LanguageModel]) -> None:
    """The nats of every character are those of the plain mean of the reference probabilities."""
    ids, nats = _write(mixed, 200, Filters(temperature=1.5))
    p = _mean_of_references(mixed, ids)[np.arange(200), ids]
    np.testing.assert_allclose(nats, -np.log(p), rtol=0, atol=2e-5)
    assert len(set(ids.tolist())) > 3


def test_without_temperature_the_likeliest_of_the_mean_is_written(mixed: list[LanguageModel]) -> None:
    """At temperature 0 every character is the argmax of the mean, which is not that of any one model."""
    ids, _ = _write(mixed, 100, Filters(temperature=0), prompt=(1, 2, 3))
    whole = np.concatenate([[1, 2, 3], ids])
    p = _mean_of_references(mixed, whole)[3:-1]
    assert ids.tolist() == p.argmax(1).tolist()
    alone = [_mean_of_references([lm], whole)[3:-1].argmax(1).tolist() for lm in mixed]
    assert ids.tolist() not in alone


def test_a_lane_does_not_feel_its_company(mixed: list[LanguageModel]) -> None:
    """A text is the same to the bit alone, among others, and when one beside it ends."""
    engine = _engine(mixed)

    def alone(key: int) -> tuple[np.ndarray, np.ndarray]:
        group = engine.group(1, Filters())
        group.add(engine.begin((key,)), key)
        return group.write(30)

    group = engine.group(3, Filters())
    for key in range(3):
        group.add(engine.begin((key,)), key)
    first, first_nats = group.write(10)
    group.drop(0)
    second, second_nats = group.write(20)
    for key, lane in ((1, 1), (2, 0)):
        ids, nats = alone(key)
        np.testing.assert_array_equal(np.append(first[:, key], second[:, lane]), ids[:, 0])
        np.testing.assert_array_equal(np.append(first_nats[:, key], second_nats[:, lane]), nats[:, 0])


def test_one_model_thrice_is_that_model(mixed: list[LanguageModel]) -> None:
    """The mean of a model with itself writes what the model writes."""
    engine = Engine(to_file(mixed[1]))
    group = Group(engine, 1, Filters())
    group.add(engine.begin(), 7)
    ids, nats = group.write(100)
    thrice, thrice_nats = _write([mixed[1]] * 3, 100, Filters())
    np.testing.assert_array_equal(thrice, ids[:, 0])
    np.testing.assert_allclose(thrice_nats, nats[:, 0], atol=1e-5)


def test_writing_pauses_after_an_id_to_look_at(mixed: list[LanguageModel]) -> None:
    """A call ends after a step in which a lane chose such an id, and the next one goes on."""
    engine = _engine(mixed)
    free, watched = engine.group(2, Filters()), engine.group(2, Filters(), ends=[4])
    for group in (free, watched):
        group.add(engine.begin(), 1)
        group.add(engine.begin(), 2)
    whole, _ = free.write(60)
    first, _ = watched.write(60)
    assert 0 < len(first) < 60
    assert 4 in first[-1]
    np.testing.assert_array_equal(np.concatenate([first, watched.write(1)[0]]), whole[: len(first) + 1])


def test_rounded_weights_are_averaged_too(mixed: list[LanguageModel]) -> None:
    """With fewer bits the mean is near that of the weights as they are."""
    one = sample(mixed, "abc", SampleOptions(length=40, weights="int8"))[0]
    ids = VOCABULARY.encode("abc" + one.text)
    nats = np.concatenate(list(nats_of([lm.network for lm in mixed], ids, VOCABULARY.start)))[3:]
    assert one.nats_per_char == pytest.approx(nats.mean(), abs=0.1)


def test_a_seed_writes_one_text(mixed: list[LanguageModel]) -> None:
    """The same seed writes the same texts, streamed or whole, one or several, from models or their files."""
    options = SampleOptions(length=50, seed=3)
    texts = [each.text for each in sample(mixed, "ab", options, count=5)]
    assert len(set(texts)) == 5
    assert texts[0] == "".join(stream([to_file(lm) for lm in mixed], "ab", options))
    assert texts == [each.text for each in sample(mixed, "ab", options, count=5)]
    assert sample([mixed[0]], "ab", options) == sample(mixed[0], "ab", options)


def test_evaluation_agrees_with_what_each_model_says(mixed: list[LanguageModel], text: str) -> None:
    """The score of several models is the mean of each one's probabilities, under both protocols."""
    words = "".join(c for c in text if "a" <= c <= "m")[:3000]
    ids = VOCABULARY.encode(words)
    for options in ({}, {"protocol": "windows", "window": 70}):
        each = [
            np.concatenate(list(nats_of(lm.network, ids, VOCABULARY.start, **options)))  # type: ignore[arg-type]
            for lm in mixed
        ]
        score = evaluate(mixed, words, **options)  # type: ignore[arg-type]
        assert score.nats_per_char == pytest.approx(
            -np.log(np.exp(-np.array(each)).mean(0)).mean(), rel=1e-12
        )
        assert score.chars == len(words)
    expected = _mean_of_references(mixed, ids)[np.arange(len(ids)), ids]
    assert evaluate(mixed, words).nats_per_char == pytest.approx(-np.log(expected).mean(), abs=1e-6)


def test_models_of_other_characters_are_refused(mixed: list[LanguageModel]) -> None:
    """Another vocabulary, other units, or no model at all, is an error that says what differs and what to do."""
    other = make_model(Vocabulary("characters", tuple(map(ord, "abcé"))))
    with pytest.raises(
        ConfigError, match=r"models 1 and 3 differ in 11 characters: only model 1 knows 'd'.*same ch"
    ):
        evaluate([mixed[0], mixed[1], other], "abc")
    raw = make_model(Vocabulary("bytes", tuple(range(97, 110))))
    with pytest.raises(ConfigError, match="model 1 predicts characters and model 2 bytes"):
        sample([mixed[0], raw])
    with pytest.raises(ConfigError, match="no model was given"):
        sample([])
    with pytest.raises(ConfigError, match="2 models were given, but on cuda one model writes"):
        sample(mixed[:2], "", SampleOptions(device="cuda"))
