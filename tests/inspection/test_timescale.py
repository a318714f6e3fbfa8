"""Timescales against closed forms and against the whole course at once."""

import math

import numpy as np
import pytest
import torch

from conftest import make_model
from inspection.handset import COLUMN, LATCH, TEXT, golden_model
from nextchar.architecture import CELLS
from nextchar.inspection.gates import gates
from nextchar.inspection.summary import summarize
from nextchar.inspection.timescale import LAGS, Timescales
from nextchar.inspection.trace import join, pieces
from nextchar.text.corpus import Corpus


def _seen(rows: np.ndarray, kept: np.ndarray | None, piece: int) -> Timescales:
    """Show rows piece after piece."""
    times = Timescales(rows.shape[1])
    for begin in range(0, len(rows), piece):
        some = None if kept is None else kept[begin : begin + piece]
        times.add(rows[begin : begin + piece], some)
    return times


def test_a_constant_gate_has_its_closed_form(random: np.random.Generator) -> None:
    """A unit that keeps nine tenths at every character forgets with τ = -1 / ln 0.9, and one that keeps all never."""
    kept = np.tile(np.array([0.9, 1.0], np.float32), (500, 1))
    times = _seen(random.normal(size=(500, 2)).astype(np.float32), kept, 64)
    assert times.gate()[0] == pytest.approx(9.4912, abs=1e-3)
    assert times.gate()[1] == math.inf


@pytest.mark.parametrize("piece", [1, 100, 5000])
def test_the_course_is_that_of_the_whole_text(random: np.random.Generator, piece: int) -> None:
    """The autocorrelation in passing is that of the whole, also where the values are small beside their mean."""
    steps = 3000 if piece > 1 else 1200
    rows = np.cumsum(random.normal(size=(steps, 3)), 0).astype(np.float32) * np.array([1, 0.01, 0], np.float32)
    rows += np.array([0, 50, 7], np.float32)
    times = _seen(rows, None, piece)
    away = rows - rows.mean(0, dtype=np.float64)
    center = rows[:piece].mean(0, dtype=np.float64).astype(np.float32).astype(np.float64)
    for index, lag in enumerate(lag for lag in LAGS if lag < steps):
        product = ((rows[lag:] - center) * (rows[:-lag] - center)).mean(0) - (
            rows.mean(0, dtype=np.float64) - center
        ) ** 2
        expected = product[:2] / (away * away).mean(0)[:2]
        np.testing.assert_allclose(times.autocorrelation()[index, :2], expected, atol=2e-3)
    assert np.isnan(times.course()[2])
    assert np.isnan(times.gate()).all()


def test_a_wave_falls_where_its_cosine_does() -> None:
    """A slow wave of period 400 is at 1/e of its autocorrelation after arccos(1/e) / 2π of the period."""
    wave = np.sin(np.arange(40_000) * 2 * np.pi / 400).astype(np.float32)[:, None]
    expected = math.acos(math.exp(-1)) / (2 * math.pi) * 400
    assert _seen(wave, None, 2048).course()[0] == pytest.approx(expected, rel=0.03)


def test_planted_units_have_the_timescales_of_their_texts() -> None:
    """The latch and the column counter keep all until they are reset, so ln f is that of the reset alone."""
    lm = golden_model()
    (summary,) = summarize(pieces(lm, lm.vocabulary.encode(TEXT))).values()
    seen = join(list(pieces(lm, lm.vocabulary.encode(TEXT)))).values[0]["f"]
    for unit in (LATCH, COLUMN):
        logs = np.log(np.maximum(seen[:, unit].astype(np.float64), 1e-30))
        assert summary.timescales.gate()[unit] == pytest.approx(-1 / logs.mean(), rel=1e-4)


@pytest.mark.parametrize("cell", CELLS)
def test_the_table_of_gates_is_that_of_the_trace(cell: str, text: str) -> None:
    """Shares are counted over the whole text; a gru keeps by z, and an rnn has no row."""
    lm = make_model(Corpus.from_text(text).vocabulary, cell=cell)
    with torch.no_grad():  # gates of a random network are never saturated
        for parameter in lm.network.layers.parameters():
            parameter.mul_(4)
    rows, whole = gates(lm, text[:2000]), join(list(pieces(lm, lm.vocabulary.encode(text[:2000]))))
    names = {"lstm": "ifo", "gru": "rz", "rnn": ""}[cell]
    assert [(row.layer, row.gate) for row in rows] == [(layer, gate) for layer in (0, 1) for gate in names]
    for row in rows:
        values = whole.values[row.layer][row.gate]
        assert row.left == pytest.approx((values < 0.1).mean())
        assert row.right == pytest.approx((values > 0.9).mean())
        assert row.always_right == pytest.approx(((values > 0.9).mean(0) > 0.9).mean())
        assert row.always_left == pytest.approx(((values < 0.1).mean(0) > 0.9).mean())
        keeps = row.gate in "fz"
        assert (row.timescale is not None) == (row.agreement is not None) == keeps
    assert all(-1 <= row.agreement <= 1 for row in rows if row.agreement is not None)
