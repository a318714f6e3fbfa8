import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.errors import ConfigError
from nextchar.evaluation.score import evaluate, nats_of
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledBatch, CompiledNetwork
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample, stream
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


def _networks(models: list[LanguageModel]) -> list[CompiledNetwork]:
    return [CompiledNetwork(to_file(lm)) for lm in models]


def _batch(
    networks: list[CompiledNetwork],
    keys: list[int],
    params: list[SamplingParams] | None = None,
    prompt: tuple[int, ...] = (),
    stop_ids: tuple[int, ...] = (),
) -> CompiledBatch:
    """Return a batch with a stream for each key."""
    batch = CompiledBatch(networks, len(keys))
    for key, each in zip(keys, params or [SamplingParams()] * len(keys), strict=True):
        batch.add(tuple(network.read(prompt)[1] for network in networks), each, key, stop_ids)
    return batch


def _generate(
    models: list[LanguageModel], size: int, params: SamplingParams, prompt: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    ids, nats = _batch(_networks(models), [7], [params], prompt).generate(size)
    return ids[:, 0], nats[:, 0]


def _mean_of_references(models: list[LanguageModel], ids: np.ndarray) -> np.ndarray:
    """Return the plain mean of the models' probabilities before each id and after the last, `(T + 1, V)`."""
    inputs = torch.from_numpy(np.concatenate([[VOCABULARY.start], ids]))[:, None]
    with torch.no_grad():
        rows = [lm.network(inputs, lm.network.empty_state(1))[0][:, 0].double().softmax(1) for lm in models]
    return torch.stack(rows).mean(0).numpy()


def test_nats_are_those_of_the_mean_probability(mixed: list[LanguageModel]) -> None:
    """The nats of every character are those of the plain mean of the reference probabilities."""
    ids, nats = _generate(mixed, 200, SamplingParams(temperature=1.5))
    p = _mean_of_references(mixed, ids)[np.arange(200), ids]
    np.testing.assert_allclose(nats, -np.log(p), rtol=0, atol=2e-5)
    assert len(set(ids.tolist())) > 3


def test_temperature_zero_takes_the_argmax_of_the_mean(mixed: list[LanguageModel]) -> None:
    """At temperature 0 every id is the argmax of the mean, which is not that of any one model."""
    ids, _ = _generate(mixed, 100, SamplingParams(temperature=0), prompt=(1, 2, 3))
    whole = np.concatenate([[1, 2, 3], ids])
    p = _mean_of_references(mixed, whole)[3:-1]
    assert ids.tolist() == p.argmax(1).tolist()
    alone = [_mean_of_references([lm], whole)[3:-1].argmax(1).tolist() for lm in mixed]
    assert ids.tolist() not in alone


def test_a_stream_does_not_depend_on_the_others(mixed: list[LanguageModel]) -> None:
    """A text is the same to the bit alone, beside others with other parameters, and when one of them ends."""
    networks = _networks(mixed)
    params = [SamplingParams(), SamplingParams(0.5), SamplingParams(top_k=3)]
    batch = _batch(networks, [0, 1, 2], params)
    first, first_nats = batch.generate(10)
    batch.remove(0)
    second, second_nats = batch.generate(20)
    for key, row in ((1, 1), (2, 0)):
        ids, nats = _batch(networks, [key], [params[key]]).generate(30)
        np.testing.assert_array_equal(np.append(first[:, key], second[:, row]), ids[:, 0])
        np.testing.assert_array_equal(np.append(first_nats[:, key], second_nats[:, row]), nats[:, 0])


def test_one_model_three_times_is_that_model(mixed: list[LanguageModel]) -> None:
    """The mean of a model with itself generates what the model generates."""
    ids, nats = _batch(_networks([mixed[1]]), [7]).generate(100)
    thrice, thrice_nats = _generate([mixed[1]] * 3, 100, SamplingParams())
    np.testing.assert_array_equal(thrice, ids[:, 0])
    np.testing.assert_allclose(thrice_nats, nats[:, 0], atol=1e-5)


def test_a_call_returns_after_a_stop_id(mixed: list[LanguageModel]) -> None:
    """A call ends after a step in which a stream draws a stop id, and the next one continues."""
    networks = _networks(mixed)
    whole, _ = _batch(networks, [1, 2]).generate(60)
    batch = _batch(networks, [1, 2], stop_ids=(4,))
    first, _ = batch.generate(60)
    assert 0 < len(first) < 60
    assert 4 in first[-1]
    np.testing.assert_array_equal(np.concatenate([first, batch.generate(1)[0]]), whole[: len(first) + 1])


@pytest.mark.slow
def test_rounded_weights_are_averaged_too(mixed: list[LanguageModel]) -> None:
    """With fewer bits the mean is near that of the weights as they are."""
    one = sample(mixed, "abc", SampleOptions(length=40, weights="int8"))
    ids = VOCABULARY.encode("abc" + one.text)
    nats = np.concatenate(list(nats_of([lm.network for lm in mixed], ids, VOCABULARY.start)))[3:]
    assert one.nats_per_char == pytest.approx(nats.mean(), abs=0.1)


def test_a_seed_gives_one_text(mixed: list[LanguageModel]) -> None:
    """The same seed gives the same texts, streamed or whole, one or several, from models or their files."""
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
        assert score.nats_per_char == pytest.approx(-np.log(np.exp(-np.array(each)).mean(0)).mean(), rel=1e-12)
        assert score.chars == len(words)
    expected = _mean_of_references(mixed, ids)[np.arange(len(ids)), ids]
    assert evaluate(mixed, words).nats_per_char == pytest.approx(-np.log(expected).mean(), abs=1e-6)


def test_models_of_other_characters_are_refused(mixed: list[LanguageModel]) -> None:
    """Another vocabulary, other units, or no model at all, is an error that says what differs and what to do."""
    other = make_model(Vocabulary("characters", tuple(map(ord, "abcé"))))
    with pytest.raises(ConfigError, match=r"models 1 and 3 differ in 11 characters: only model 1 has 'd'.*same ch"):
        evaluate([mixed[0], mixed[1], other], "abc")
    raw = make_model(Vocabulary("bytes", tuple(range(97, 110))))
    with pytest.raises(ConfigError, match="model 1 predicts characters and model 2 bytes"):
        sample([mixed[0], raw])
    with pytest.raises(ConfigError, match="no model was given"):
        sample([])
    with pytest.raises(ConfigError, match="2 models were given, but on cuda only one can generate"):
        sample(mixed[:2], "", SampleOptions(device="cuda"))
