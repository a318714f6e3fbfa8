"""The trace against the equations, the fast path, and itself in other pieces."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from conftest import make_model
from nextchar.architecture import CELLS
from nextchar.errors import ConfigError, TextError, UnknownCharacterError
from nextchar.evaluation.score import nats_of
from nextchar.inspection.summary import BINS, WINDOW, WINDOWS, most_varied, summarize
from nextchar.inspection.timescale import LAGS
from nextchar.inspection.trace import ROWS, SIGNALS, Trace, join, pieces, trace
from nextchar.language_model import LanguageModel
from nextchar.model.reading import TOLERANCE
from nextchar.text.corpus import Corpus


@pytest.fixture(params=CELLS)
def any_lm(request: pytest.FixtureRequest, corpus: Corpus) -> LanguageModel:
    """Return a small model of each kind of cell."""
    return make_model(corpus.vocabulary, cell=request.param)


def _same(one: Trace, other: Trace, atol: float) -> None:
    assert one.ids.tolist() == other.ids.tolist()
    for layer in one.values:
        for name, values in one.values[layer].items():
            np.testing.assert_allclose(values, other.values[layer][name], rtol=0, atol=atol, err_msg=name)
    for name in ("surprisal", "entropy", "probabilities"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_chunks_change_nothing(any_lm: LanguageModel, text: str, chunk: int) -> None:
    """Whatever is read at a time, the trace is that of one step after the other."""
    ids = any_lm.vocabulary.encode(text[:2500])
    one_by_one = join(list(pieces(any_lm, ids, chunk=5000)))
    _same(join(list(pieces(any_lm, ids, chunk=chunk))), one_by_one, 1e-5)


@pytest.mark.slow
def test_the_trace_is_what_scoring_sees(any_lm: LanguageModel, text: str) -> None:
    """The surprisals are those of the fast path, character for character, within what the reader takes for equal states."""
    ids = any_lm.vocabulary.encode(text)
    nats = np.concatenate(list(nats_of(any_lm.network, ids, any_lm.vocabulary.start)))
    np.testing.assert_allclose(trace(any_lm, text).surprisal, nats, rtol=0, atol=TOLERANCE)


def test_the_predictions_are_those_of_the_logits(any_lm: LanguageModel, text: str) -> None:
    """Entropy and rank are of the prediction of a character; the likeliest are of the next."""
    seen = trace(any_lm, text[:300])
    inputs = [any_lm.vocabulary.start, *seen.ids.tolist()]
    with torch.no_grad():
        logits, _ = any_lm.network(torch.tensor(inputs)[:, None], any_lm.network.empty_state(1))
    p = logits[:, 0].double().softmax(1)
    np.testing.assert_allclose(seen.entropy, -(p * p.log()).sum(1)[:-1], atol=1e-5)
    at = torch.arange(300), torch.from_numpy(seen.ids)
    ranks = 1 + (p[:-1] > p[at][:, None]).sum(1)
    assert (np.abs(seen.rank - ranks.numpy()) <= 1).all()  # two may be equal to the last bit
    assert (seen.rank == ranks.numpy()).mean() > 0.99
    top = p[1:].topk(5, dim=1)
    np.testing.assert_allclose(seen.probabilities, top.values, atol=1e-6)
    assert (seen.likeliest == top.indices.numpy()).mean() > 0.99


def test_even_characters_are_in_the_order_of_their_ids(lm: LanguageModel, text: str) -> None:
    """A network without an opinion ranks by id."""
    with torch.no_grad():
        lm.network.head.weight.zero_()
        lm.network.head.bias.zero_()
    seen = trace(lm, text[:50])
    assert seen.likeliest.tolist() == [[0, 1, 2, 3, 4]] * 50
    assert seen.rank.tolist() == (seen.ids + 1).tolist()
    np.testing.assert_allclose(seen.entropy, np.log(len(lm.vocabulary)))


def test_signals_obey_the_equations(lm: LanguageModel, text: str) -> None:
    """The cell is f c + i g and the output o tanh(c) at every character, from what START left."""
    seen = trace(lm, text[:200])
    for values in seen.values.values():
        i, f, g, c = (values[name][1:] for name in "ifgc")
        np.testing.assert_allclose(c, f * values["c"][:-1] + i * g, atol=1e-6)
        np.testing.assert_allclose(values["h"], values["o"] * np.tanh(values["c"]), atol=1e-6)
        np.testing.assert_allclose(values["tanh_c"], np.tanh(values["c"]), atol=1e-6)


def test_only_what_is_asked_for_is_kept(lm: LanguageModel, text: str) -> None:
    """Layers, units and signals are chosen, and are those of the whole."""
    whole = trace(lm, text[:100])
    part = trace(lm, text[:100], units={1: [5, 2]}, signals=["f", "h"])
    assert {layer: set(kept) for layer, kept in part.values.items()} == {1: {"f", "h"}}
    assert part.values[1]["f"].shape == (100, 2)
    np.testing.assert_array_equal(part.of(1, 2, "f"), whole.values[1]["f"][:, 2])
    np.testing.assert_array_equal(whole.of(0, 3), whole.values[0]["tanh_c"][:, 3])
    with pytest.raises(ConfigError, match="c of unit 1:5 is not in this trace"):
        part.of(1, 5, "c")


def test_what_is_not_there_is_refused(lm: LanguageModel) -> None:
    """A layer, unit or signal that does not exist, an unknown character, and an empty text have one sentence each."""
    for units, words in (({2: [0]}, "no layer 2"), ({0: [8]}, "no unit 0:8"), ({-1: [0]}, "no layer -1")):
        with pytest.raises(ConfigError, match=words):
            trace(lm, "def", units=units)
    with pytest.raises(ConfigError, match=r"no signal 'tanhc'.*did you mean 'tanh_c'"):
        trace(lm, "def", signals=["tanhc"])
    with pytest.raises(UnknownCharacterError):
        trace(lm, "\x00")
    with pytest.raises(TextError, match="no character"):
        trace(lm, "\x00", unknown="skip")


@pytest.mark.parametrize("name", ["trace", "trace.npz", "trace.safetensors"])
def test_a_saved_trace_is_read_again(any_lm: LanguageModel, text: str, tmp_path: Path, name: str) -> None:
    """The file holds every array, to the bit, under the name it was given."""
    seen = trace(any_lm, text[:90], units={0: [1, 3]})
    seen.save(tmp_path / name)
    arrays = load_file(tmp_path / name) if name.endswith("tensors") else dict(np.load(tmp_path / name))
    assert arrays["layers.0.units"].tolist() == [1, 3]
    for signal in SIGNALS[seen.cell]:
        np.testing.assert_array_equal(arrays[f"layers.0.{signal}"], seen.values[0][signal])
    np.testing.assert_array_equal(arrays["surprisal"], seen.surprisal)
    assert any_lm.vocabulary.codes == tuple(arrays["codes"])
    assert set(arrays) == set(seen.arrays())


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [5, 64])
def test_summaries_are_those_of_the_whole(any_lm: LanguageModel, text: str, chunk: int) -> None:
    """The statistics of pieces are those of the whole trace."""
    ids = any_lm.vocabulary.encode(text[:3000])
    whole = join(list(pieces(any_lm, ids, chunk=chunk)))
    for layer, summary in summarize(pieces(any_lm, ids, chunk=chunk)).items():
        for name, rows in whole.values[layer].items():
            np.testing.assert_allclose(summary.mean(name), rows.mean(0, dtype=np.float64), atol=1e-6)
            np.testing.assert_allclose(summary.variance(name), rows.var(0, dtype=np.float64), atol=1e-6)
            np.testing.assert_array_equal(summary.least[name], rows.min(0))
            np.testing.assert_array_equal(summary.most[name], rows.max(0))
        for gate in summary.gates:
            left, right = summary.saturation(gate)
            np.testing.assert_allclose(left, (whole.values[layer][gate] < 0.1).mean(0))
            np.testing.assert_allclose(right, (whole.values[layer][gate] > 0.9).mean(0))
            mean = whole.values[layer][gate][ids == ids[7]].mean(0)
            np.testing.assert_allclose(summary.by_character(gate)[ids[7]], mean, atol=1e-5)
        main = whole.values[layer][summary.main]
        assert summary.count == 3000
        assert (summary.histogram.sum(1) == 3000).all()
        assert summary.histogram[3].tolist() == np.histogram(main[:, 3], BINS, (-1, 1))[0].tolist()
        np.testing.assert_allclose(summary.by_character()[ids[7]], main[ids == ids[7]].mean(0), atol=1e-5)
        peaks = np.array([main[begin : begin + WINDOW].max(0) for begin in range(0, 3000, WINDOW)])
        dips = np.array([main[begin : begin + WINDOW].min(0) for begin in range(0, 3000, WINDOW)])
        expected = WINDOW * np.argsort(-peaks, axis=0, kind="stable")[:WINDOWS]
        assert summary.strongest.tolist() == expected.tolist()
        assert summary.weakest.tolist() == (WINDOW * np.argsort(dips, axis=0, kind="stable")[:WINDOWS]).tolist()


def test_the_most_varied_units_come_first(lm: LanguageModel, text: str) -> None:
    """Units are ranked over all layers."""
    seen = trace(lm, text[:500])
    best, *_ = most_varied(summarize([seen]), 3)
    spread = {(layer, unit): seen.of(layer, unit).var() for layer in (0, 1) for unit in range(8)}
    assert spread[best] == pytest.approx(max(spread.values()), rel=1e-4)


@pytest.mark.slow
def test_a_piece_is_bounded(lm: LanguageModel, text: str) -> None:
    """Pieces hold no more than they should, however long the text is, and a summary does not grow."""
    ids = lm.vocabulary.encode(text)
    lengths = [len(piece) for piece in pieces(lm, ids, chunk=16)]
    assert sum(lengths) == len(text)
    assert max(lengths) == 16 * ROWS
    (short, *_), (long, *_) = (summarize(pieces(lm, ids[:end])).values() for end in (4000, 20_000))
    size = {
        name: value.shape for name, value in vars(short).items() if isinstance(value, np.ndarray) and name != "_rest"
    }
    assert size == {name: vars(long)[name].shape for name in size}
    assert len(vars(long.timescales)["_before"]) == LAGS[-1]
    assert len(long._rest) < WINDOW
