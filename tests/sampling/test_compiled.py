import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.evaluation.score import score_ids
from nextchar.kernels.packing import StreamState
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledBatch, CompiledNetwork
from nextchar.sampling.options import SamplingParams
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def _predicted(state: StreamState) -> np.ndarray:
    """Return the logits of what comes next, `(V,)`."""
    return state.logits[0, : len(VOCABULARY)]


def _batch(
    network: CompiledNetwork, keys: list[int], params: SamplingParams | None = None, **options: object
) -> CompiledBatch:
    """Return a batch with a stream for each key."""
    batch = CompiledBatch([network], len(keys), threads=1)
    for key in keys:
        batch.add((network.start,), params or SamplingParams(), key, **options)  # type: ignore[arg-type]
    return batch


def _generate(
    lm: LanguageModel, size: int, params: SamplingParams, prompt: tuple[int, ...] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and nats of one text, each `(T,)`."""
    network = CompiledNetwork(to_file(lm))
    batch = CompiledBatch([network], 1)
    batch.add((network.read(prompt)[1],), params, 0)
    ids, nats = batch.generate(size)
    return ids[:, 0], nats[:, 0]


@EVERY_CELL
def test_a_text_has_the_nats_that_evaluation_scores(corpus: Corpus, text: str, cell: Cell) -> None:
    """The score of a text is the mean of its nats."""
    lm = make_model(corpus.vocabulary, cell=cell)
    ids = corpus.vocabulary.encode(text[:5000])
    score = score_ids(lm.network, ids, lm.vocabulary)
    nats = CompiledNetwork(to_file(lm)).read(ids)[0]
    assert nats.shape == (5000,)
    assert score.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)


@EVERY_CELL
def test_nats_are_those_of_reading_one_by_one(cell: Cell) -> None:
    """The nats of a text are those of each step of reading it from START."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY, cell=cell)))
    ids = np.random.default_rng(0).integers(0, 13, 30)
    state = network.start
    expected = []
    for index in ids:
        logits = _predicted(state).astype(np.float64)
        expected.append(np.log(np.exp(logits).sum()) - logits[index])
        _, state = network.read([index], state)
    np.testing.assert_allclose(network.read(ids)[0], expected, rtol=1e-6, atol=1e-6)


def test_an_empty_text_has_no_nats() -> None:
    """Nothing is scored."""
    assert CompiledNetwork(to_file(make_model(VOCABULARY))).read([])[0].shape == (0,)


@EVERY_CELL
def test_a_text_is_read_after_start(cell: Cell) -> None:
    """Reading a text is reading START and then the text from the empty state."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY, cell=cell)))
    nats, after = network.read([VOCABULARY.start, 3, 1, 2], network.empty)
    for one, other in zip(network.read([3, 1, 2])[1], after, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(network.read([3, 1, 2])[0], nats[1:])
    assert nats[0] == 0


@EVERY_CELL
def test_temperature_zero_follows_the_argmax_of_torch(cell: Cell) -> None:
    """At temperature 0 every id is the argmax of the torch network that reads the same ids."""
    lm = make_model(VOCABULARY, cell=cell)
    expected = []
    with torch.no_grad():
        state, index = lm.network.empty_state(1), VOCABULARY.start
        for _ in range(150):
            logits, state = lm.network(torch.tensor([[index]]), state)
            index = int(logits[0, 0].argmax())
            expected.append(index)
    assert _generate(lm, 150, SamplingParams(temperature=0))[0].tolist() == expected


@pytest.mark.parametrize(
    "params", [SamplingParams(), SamplingParams(temperature=0), SamplingParams(0.5, top_k=3), SamplingParams(3.0)]
)
def test_nats_are_those_of_the_unfiltered_model(params: SamplingParams) -> None:
    """The nats of an id are those of the model itself, whatever the parameters."""
    lm = make_model(VOCABULARY)
    ids, nats = _generate(lm, 60, params, prompt=(1, 2))
    np.testing.assert_array_equal(nats, CompiledNetwork(to_file(lm)).read([1, 2, *ids])[0][2:])


def test_top_k_bounds_what_is_drawn() -> None:
    """With top_k = 2 every id is one of the model's two most likely."""
    lm = make_model(VOCABULARY)
    network = CompiledNetwork(to_file(lm))
    state = network.start
    ranks = set()
    for index in _generate(lm, 200, SamplingParams(top_k=2))[0]:
        ranks.add(np.argsort(-_predicted(state)).tolist().index(index))
        _, state = network.read([index], state)
    assert ranks == {0, 1}


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_draws_follow_the_distribution_of_the_model(temperature: float) -> None:
    """Over 4,000 keys the first id is distributed as the softmax: chi-square below its 99.9 % point."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    state, n = network.start, 4000
    ids, _ = _batch(network, list(range(n)), SamplingParams(temperature)).generate(1)
    p = np.exp(_predicted(state).astype(np.float64) / temperature)
    expected = n * p / p.sum()
    seen = np.bincount(ids[0], minlength=13)
    # Classes of fewer than five are taken together.
    rare = expected < 5
    pairs = [*zip(seen[~rare], expected[~rare], strict=True), (seen[rare].sum(), expected[rare].sum())]
    assert sum((s - e) ** 2 / e for s, e in pairs if e) < 32.9


def test_removing_a_stream_leaves_the_others_as_they_were() -> None:
    """When texts end and others begin in their place, every text is what it is alone."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    alone = {}
    for key in range(6):
        alone[key] = _batch(network, [key]).generate(20)[0][:, 0].tolist()
    batch, texts = _batch(network, [0, 1, 2]), [(0, []), (1, []), (2, [])]
    for waiting in (3, 4, 5):
        for (_, text), ids in zip(texts, batch.generate(5)[0].T, strict=True):
            text.extend(ids.tolist())
        batch.remove(0)
        assert texts[0][1] == alone[texts[0][0]][: len(texts[0][1])]
        texts[0] = texts.pop()
        batch.add((network.start,), SamplingParams(), waiting)
        texts.append((waiting, []))
    for key, text in texts:
        assert text == alone[key][: len(text)]


def test_a_call_returns_after_a_stop_id() -> None:
    """A call ends after the step in which a stream draws one of its own stop ids; the next call continues."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    whole, _ = _batch(network, [1, 2]).generate(60)
    for stopping in (0, 1):
        batch = CompiledBatch([network], 2)
        for stream in (0, 1):
            batch.add((network.start,), SamplingParams(), stream + 1, [4] if stream == stopping else [])
        first, _ = batch.generate(60)
        assert len(first) == 1 + whole[:, stopping].tolist().index(4)
        second, _ = batch.generate(1)
        np.testing.assert_array_equal(np.concatenate([first, second]), whole[: len(first) + 1])


def test_every_stream_has_its_own_parameters() -> None:
    """A text is the same to the bit alone and beside others with other parameters, as one stream ends and another begins."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    params = [
        SamplingParams(),
        SamplingParams(temperature=0),
        SamplingParams(top_k=2),
        SamplingParams(0.6, repetition_penalty=1.2, frequency_penalty=0.5, logit_bias=((1, 3.0),)),
    ]
    alone = [_batch(network, [key], each).generate(60) for key, each in enumerate(params)]
    batch = CompiledBatch([network], 3)
    for key in (0, 1, 2):
        batch.add((network.start,), params[key], key)
    first = batch.generate(20)
    batch.remove(0)  # stream 2 moves to its place
    batch.add((network.start,), params[3], 3)
    second = batch.generate(40)
    for kind in (0, 1):  # ids and nats
        for key, stream in ((2, 0), (1, 1)):
            joined = np.append(first[kind][:, key], second[kind][:, stream])
            np.testing.assert_array_equal(joined, alone[key][kind][:, 0])
        np.testing.assert_array_equal(second[kind][:, 2], alone[3][kind][:40, 0])


def test_penalties_and_a_bias_change_what_is_drawn() -> None:
    """A ban by bias holds, a penalty for presence makes greedy text visit every id, and neither changes the nats' model."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    plain = _batch(network, [0], SamplingParams(0)).generate(13)[0][:, 0]
    assert len({*plain.tolist()}) < 8
    visits, nats = _batch(network, [0], SamplingParams(0, frequency_penalty=2, presence_penalty=2)).generate(30)
    assert len({*visits[:, 0].tolist()}) > len({*plain.tolist()})
    np.testing.assert_allclose(network.read(visits[:, 0])[0], nats[:, 0], rtol=0, atol=1e-6)
    banned = int(plain[0])
    assert banned not in _batch(network, [0], SamplingParams(0.5, logit_bias=((banned, -100),))).generate(200)[0]


def test_logits_are_kept_when_they_are_asked_for() -> None:
    """They are those that predict each id, read or drawn, and the ids are the same as without them."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    plain = _batch(network, [3, 4]).generate(9)
    batch, logits = _batch(network, [3, 4]), np.zeros((9, 2, 13), np.float32)
    ids, nats = batch.generate(9, logits)
    np.testing.assert_array_equal(ids, plain[0])
    np.testing.assert_array_equal(nats, plain[1])
    scored = torch.from_numpy(logits).double().log_softmax(-1).gather(2, torch.from_numpy(ids)[..., None])[..., 0]
    np.testing.assert_allclose(-scored.numpy(), nats, rtol=0, atol=1e-6)
    again, read = _batch(network, [0, 0]), np.zeros((9, 2, 13), np.float32)
    np.testing.assert_array_equal(again.read(ids, read), nats)
    np.testing.assert_array_equal(read, logits)


def test_ids_drawn_from_given_logits_are_those_of_generating() -> None:
    """With the logits that generating had, the same random numbers and penalties draw the same ids, which nobody reads."""
    network, params = CompiledNetwork(to_file(make_model(VOCABULARY))), SamplingParams(0.8, top_k=6, presence_penalty=1)
    logits = np.zeros((30, 2, 13), np.float32)
    ids, nats = _batch(network, [3, 4], params).generate(30, logits)
    batch = _batch(network, [3, 4], params)
    drawn = [batch.draw(each) for each in logits]
    np.testing.assert_array_equal([each for each, _ in drawn], ids)
    np.testing.assert_array_equal([each for _, each in drawn], nats)


def test_texts_read_side_by_side_end_in_the_states_of_reading_them_alone() -> None:
    """The states, to the bit, also if the texts are read in parts."""
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    texts = np.random.default_rng(0).integers(0, 13, (20, 3))
    batch = _batch(network, [0, 0, 0])
    batch.read(texts[:7].copy())
    batch.read(texts[7:].copy())
    for stream, text in enumerate(texts.T):
        for ours, alone in zip(batch.state(stream)[0], network.read(text)[1], strict=True):
            np.testing.assert_array_equal(ours, alone)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 9])
def test_streams_that_are_divided_among_cores_are_what_they_are_alone(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids, nats, logits and states are the same to the bit, with any number of streams in any number of parts."""
    monkeypatch.setattr("nextchar.kernels.threads.available_cores", lambda: 3)
    network = CompiledNetwork(to_file(make_model(VOCABULARY)))
    params = [SamplingParams(), SamplingParams(0.7, top_k=5, frequency_penalty=0.5)]
    batch, logits = CompiledBatch([network], count), np.zeros((12, count, 13), np.float32)
    for key in range(count):
        batch.add((network.start,), params[key % 2], key)
    ids, nats = batch.generate(12, logits)
    for key in range(count):
        alone, kept = _batch(network, [key], params[key % 2]), np.zeros((12, 1, 13), np.float32)
        own_ids, own_nats = alone.generate(12, kept)
        for found, expected in ((ids, own_ids), (nats, own_nats), (logits, kept)):
            np.testing.assert_array_equal(found[:, key], expected[:, 0])
        for found, expected in zip(batch.state(key)[0], alone.state(0)[0], strict=True):
            np.testing.assert_array_equal(found, expected)
