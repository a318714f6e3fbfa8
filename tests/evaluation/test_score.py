import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conftest import CountingNetwork, UniformNetwork, make_model
from nextchar.architecture import CELLS, Cell
from nextchar.errors import ConfigError, TextError, UnknownCharacterError
from nextchar.evaluation import score
from nextchar.evaluation.score import evaluate, nats_of, score_ids
from nextchar.language_model import LanguageModel
from nextchar.model import reading
from nextchar.model.reading import Predictor
from nextchar.model.state import State
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

V = 7
VOCABULARY = Vocabulary("characters", tuple(map(ord, "abcdefg")))
Ids = np.ndarray
Nats = np.ndarray
LENGTHS = pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 1000, 5000])


def _ids(size: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, V, size).astype(np.uint8)


def _nats(network: Predictor, ids: Ids, protocol: str = "stream", window: int = 256) -> Nats:
    start = VOCABULARY.start
    return np.concatenate(list(nats_of(network, ids, start, protocol=protocol, window=window)))  # type: ignore[arg-type]


def _naive(lm: LanguageModel, ids: Ids, window: int | None = None) -> Nats:
    """One row, one step at a time, in float64 throughout; the state is reset at every window's edge."""
    network, rows = lm.network, []
    with torch.no_grad():
        state, before = network.empty_state(1), lm.vocabulary.start
        for t, index in enumerate(ids.tolist()):
            if window and t % window == 0:
                state, before = network.empty_state(1), lm.vocabulary.start
            logits, state = network(torch.tensor([[before]]), state)
            rows.append(logits[0, 0])
            before = index
    log_p = torch.stack(rows).double().log_softmax(1)
    return -log_p[torch.arange(len(ids)), torch.from_numpy(ids.astype(np.int64))].numpy()


@cache
def _read_once(cell: Cell, text: str) -> tuple[LanguageModel, Ids, Nats]:
    vocabulary = Corpus.from_text(text).vocabulary
    lm = make_model(vocabulary, cell=cell)
    ids = vocabulary.encode(text)
    return lm, ids, _naive(lm, ids)


@pytest.fixture(params=CELLS)
def known(request: pytest.FixtureRequest, text: str) -> tuple[LanguageModel, Ids, Nats]:
    """Return a model, 5000 real characters and their surprisals, one step at a time."""
    # Cached and not of session scope, because in random order pytest would build it again at every change of cell.
    return _read_once(request.param, text[:5000])


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read short texts in many parts, with a small tolerance, so that their edges are tested."""
    monkeypatch.setattr(reading, "MIN_DEPTH", 128)
    monkeypatch.setattr(reading, "TOLERANCE", 1e-5)


def test_the_parts_of_a_real_text_are_read_as_one(
    lm: LanguageModel, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default length of parts and tolerance, the score is that of one part to 1e-6."""
    monkeypatch.undo()
    assert len(corpus) > reading.MIN_DEPTH * 4
    one, many = (
        np.concatenate(list(score.stream(lm.network, corpus.ids, lm.vocabulary.start, rows=rows))) for rows in (1, 64)
    )
    assert many.mean() == pytest.approx(one.mean(), abs=1e-6)
    np.testing.assert_allclose(many, one, rtol=0, atol=1e-3)


@LENGTHS
def test_a_stream_is_read_as_one(known: tuple[LanguageModel, Ids, Nats], length: int) -> None:
    """Surprisals read in parallel are those read step by step, to 1e-6 on average and 5e-5 for each."""
    lm, ids, expected = known
    parts = list(nats_of(lm.network, ids[:length], lm.vocabulary.start))
    nats = np.concatenate(parts)
    assert nats.shape == (length,)
    np.testing.assert_allclose(nats, expected[:length], rtol=0, atol=5e-5)
    assert nats.mean() == pytest.approx(expected[:length].mean(), abs=1e-6)
    result = score_ids(lm.network, ids[:length], lm.vocabulary)
    assert result.nats_per_char == pytest.approx(expected[:length].mean(), abs=1e-6)


def test_blocks_and_chunks_change_no_score(
    known: tuple[LanguageModel, Ids, Nats], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is carried over the edges of small blocks, too."""
    lm, ids, expected = known
    monkeypatch.setattr(score, "BLOCK", 700)
    monkeypatch.setattr(score, "CHUNK", 16)
    nats = np.concatenate(list(nats_of(lm.network, ids[:3000], lm.vocabulary.start)))
    np.testing.assert_allclose(nats, expected[:3000], rtol=0, atol=5e-5)
    assert nats.mean() == pytest.approx(expected[:3000].mean(), abs=1e-6)


def _counted(ids: Ids, window: int | None = None) -> Nats:
    """Return the surprisals under the counting network: after t characters it prefers id t mod V by 3 nats."""
    place = np.arange(len(ids)) % (window or len(ids)) + 1
    return math.log(math.exp(3) + V - 1) - 3.0 * (ids == place % V)


@LENGTHS
def test_a_network_that_never_forgets_is_scored_exactly(length: int) -> None:
    """All parts are repaired to the end if the state never forgets."""
    nats = _nats(CountingNetwork(V), _ids(length))
    np.testing.assert_allclose(nats, _counted(_ids(length)), rtol=0, atol=1e-6)


@settings(max_examples=25)
@given(length=st.integers(1, 1500), block=st.integers(1, 700), chunk=st.integers(1, 64), seed=st.integers(0, 9))
def test_no_cut_of_a_stream_changes_what_is_remembered(length: int, block: int, chunk: int, seed: int) -> None:
    """Whatever the sizes of blocks and chunks, the count is carried exactly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "BLOCK", block)
        patch.setattr(score, "CHUNK", chunk)
        nats = _nats(CountingNetwork(V), _ids(length, seed))
    np.testing.assert_allclose(nats, _counted(_ids(length, seed)), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 7, 256, 5000])
def test_windows_begin_anew(known: tuple[LanguageModel, Ids, Nats], window: int) -> None:
    """Every window, the short last one too, is read from START and the empty state."""
    lm, ids, _ = known
    start = lm.vocabulary.start
    nats = np.concatenate(list(nats_of(lm.network, ids[:300], start, protocol="windows", window=window)))
    np.testing.assert_allclose(nats, _naive(lm, ids[:300], window), rtol=0, atol=1e-5)


@settings(max_examples=40)
@given(length=st.integers(1, 2000), window=st.integers(1, 300), block=st.integers(1, 700))
def test_no_cut_of_windows_changes_them(length: int, window: int, block: int) -> None:
    """However many windows go side by side, each counts from its own start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score, "BLOCK", block)
        nats = _nats(CountingNetwork(V), _ids(length), "windows", window)
    np.testing.assert_allclose(nats, _counted(_ids(length), window), rtol=0, atol=1e-6)


@pytest.mark.parametrize("protocol", ["stream", "windows"])
@pytest.mark.parametrize("length", [1, 255, 256, 257, 20_000])
def test_a_uniform_network_scores_the_logarithm_of_the_vocabulary(protocol: str, length: int) -> None:
    """Uniform predictions have exactly log2 V bits a character under every protocol."""
    result = score_ids(UniformNetwork(V), _ids(length), VOCABULARY, protocol=protocol)  # type: ignore[arg-type]
    assert result.bits_per_char == pytest.approx(math.log2(V), abs=1e-6)
    assert result.nats_per_char == pytest.approx(math.log(V), abs=1e-6)
    assert (result.protocol, result.chars, result.bytes) == (protocol, length, length)


@pytest.mark.parametrize("exact", [False, True])
def test_the_work_of_a_score_is_bounded(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    """If the state never forgets, parts are read again twice; then an exact score reads the wrong ones once, in order."""
    read = 0
    count = CountingNetwork.__call__

    def counted(self: CountingNetwork, ids: Tensor, state: State) -> tuple[Tensor, State]:
        nonlocal read
        read += ids.numel()
        return count(self, ids, state)

    monkeypatch.setattr(CountingNetwork, "__call__", counted)
    ids = _ids(128 * 20)
    nats = np.concatenate(list(score.stream(CountingNetwork(V), ids, VOCABULARY.start, exact=exact)))
    assert read == 128 * (20 + 19 + 18 + 17 * exact)
    right = np.abs(nats - _counted(ids)) < 1e-6
    assert right[: 128 * 3].all()
    assert right.all() == exact


@LENGTHS
def test_an_estimate_is_exact_where_a_network_forgets(known: tuple[LanguageModel, Ids, Nats], length: int) -> None:
    """Two repairs are enough for a network that forgets within a part."""
    lm, ids, expected = known
    result = score.estimate(lm.network, ids[:length], lm.vocabulary)
    assert (result.protocol, result.chars) == ("stream", length)
    assert result.nats_per_char == pytest.approx(expected[:length].mean(), abs=1e-6)


class _Tally:
    """A fake with uniform predictions that counts its inputs."""

    def __init__(self) -> None:
        self.inputs = 0

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Count the inputs."""
        self.inputs += ids.numel()
        return torch.zeros(*ids.shape, V), state

    def empty_state(self, batch_size: int, /) -> State:
        """Return a state that is always the same."""
        return ((torch.zeros(batch_size, 1),),)


@pytest.mark.parametrize("protocol", ["stream", "windows"])
@pytest.mark.parametrize("length", [1, 129, 1000, 40_003])
def test_every_character_is_counted_once(protocol: str, length: int) -> None:
    """Each character has one surprisal, and a network without memory reads each once."""
    tally = _Tally()
    assert _nats(tally, _ids(length), protocol).shape == (length,)
    assert tally.inputs == length


def test_bytes_are_those_of_utf_8() -> None:
    """Characters are counted as characters, their bytes in UTF-8, and bits shared out over both."""
    lm = make_model(Vocabulary("characters", tuple(sorted(map(ord, "aé☃😀")))))
    result = evaluate(lm, "aé☃😀a")
    assert (result.chars, result.bytes) == (5, 11)
    assert result.bits_per_char == pytest.approx(result.nats_per_char / math.log(2))
    assert result.bits_per_byte * 11 == pytest.approx(result.bits_per_char * 5)


def test_a_byte_model_counts_bytes_twice_over() -> None:
    """For a byte model characters are bytes, and text is read as UTF-8."""
    lm = make_model(Vocabulary("bytes", tuple(range(256))))
    result = evaluate(lm, "aé☃")
    assert (result.chars, result.bytes) == (6, 6)
    assert result.bits_per_byte == result.bits_per_char
    assert result == evaluate(lm, "aé☃".encode())


def test_unknown_characters_are_refused_or_left_out(lm: LanguageModel) -> None:
    """Unknown characters are an error, or are left out."""
    with pytest.raises(UnknownCharacterError, match="☃"):
        evaluate(lm, "self☃.parser")
    assert evaluate(lm, "self☃.parser", unknown="skip") == evaluate(lm, "self.parser")


@pytest.mark.parametrize("protocol", ["stream", "windows"])
def test_an_empty_text_is_refused(lm: LanguageModel, protocol: str) -> None:
    """A text without characters, or with none left, has no score."""
    with pytest.raises(TextError, match="no character to score"):
        evaluate(lm, "", protocol=protocol)  # type: ignore[arg-type]
    with pytest.raises(TextError, match="no character to score"):
        evaluate(lm, "☃", protocol=protocol, unknown="skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [0, -5])
def test_a_window_of_nothing_is_refused(lm: LanguageModel, window: int) -> None:
    """A window below 1 is an error that names it."""
    with pytest.raises(ConfigError, match=f"the window is {window},"):
        evaluate(lm, "abc", protocol="windows", window=window)


def test_a_score_goes_to_json_by_name(lm: LanguageModel) -> None:
    """A score as a dictionary has every value under its name."""
    result = evaluate(lm, "self.parser", protocol="windows", window=4)
    values = result.as_dict()
    assert values["protocol"] == "windows"
    assert values["chars"] == 11
    assert score.Score(**values) == result


class _Watched:
    """A corpus that notes which stretches are taken from it."""

    def __init__(self, length: int) -> None:
        self.ids, self.taken = _ids(length), []

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, start: int, stop: int) -> Ids:
        """Note and return a stretch."""
        self.taken.append((int(start), int(stop)))
        return self.ids[start:stop]


@pytest.mark.parametrize(
    ("limit", "chars", "stretches"),
    [(20_000, 9_000, 1), (9_000, 9_000, 1), (640, 640, 5), (700, 640, 5), (50, 48, 4), (200, 200, 4)],
)
def test_a_limited_score_is_spread_over_the_text(limit: int, chars: int, stretches: int) -> None:
    """Up to its limit a text is read whole; beyond it, stretches from its beginning to its end."""
    text = _Watched(9_000)
    result = score.score_spread(UniformNetwork(V), text, VOCABULARY, limit)  # type: ignore[arg-type]
    assert (result.chars, len(text.taken)) == (chars, stretches)
    assert text.taken[0][0] == 0
    assert stretches == 1 or text.taken[-1][1] == 9_000
