import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from nextchar.architecture import CELLS, GATES, STATES, Cell
from nextchar.model.cells import STEPS, Weights
from nextchar.model.state import LayerState

BATCH, WIDTH, HIDDEN = 3, 4, 5


def _case(cell: Cell, seed: int) -> tuple[torch.Tensor, LayerState, Weights]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    rows = GATES[cell] * HIDDEN
    state = tuple(draw(BATCH, HIDDEN) for _ in range(STATES[cell]))
    return draw(BATCH, WIDTH), state, Weights(draw(rows, WIDTH), draw(rows, HIDDEN), draw(rows), draw(rows))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


class _Unit:
    """One unit of one row: the preactivation of gate k, as sums over single weights."""

    def __init__(self, x: list[float], h: list[float], weights: Weights, unit: int) -> None:
        self.x, self.h, self.unit = x, h, unit
        self.W, self.U, self.b, self.d = (weight.tolist() for weight in weights)

    def from_input(self, gate: int) -> float:
        row = gate * HIDDEN + self.unit
        return self.b[row] + sum(self.W[row][k] * self.x[k] for k in range(WIDTH))

    def from_hidden(self, gate: int) -> float:
        row = gate * HIDDEN + self.unit
        return self.d[row] + sum(self.U[row][k] * self.h[k] for k in range(HIDDEN))

    def both(self, gate: int) -> float:
        return self.from_input(gate) + self.from_hidden(gate)


def _naive_lstm(unit: _Unit, before: tuple[float, ...]) -> tuple[float, ...]:
    cell = _sigmoid(unit.both(1)) * before[1] + _sigmoid(unit.both(0)) * math.tanh(unit.both(2))
    return _sigmoid(unit.both(3)) * math.tanh(cell), cell


def _naive_gru(unit: _Unit, before: tuple[float, ...]) -> tuple[float, ...]:
    reset, update = _sigmoid(unit.both(0)), _sigmoid(unit.both(1))
    new = math.tanh(unit.from_input(2) + reset * unit.from_hidden(2))
    return ((1 - update) * new + update * before[0],)


def _naive_rnn(unit: _Unit, before: tuple[float, ...]) -> tuple[float, ...]:
    del before
    return (math.tanh(unit.both(0)),)


NAIVE: dict[str, Callable[[_Unit, tuple[float, ...]], tuple[float, ...]]] = {
    "lstm": _naive_lstm,
    "gru": _naive_gru,
    "rnn": _naive_rnn,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_its_textbook_equation_unit_by_unit(cell: Cell, seed: int) -> None:
    """One step equals a loop over single units and weights, to 1e-12."""
    x, state, weights = _case(cell, seed)
    after, _ = STEPS[cell](x, state, weights)
    expected = np.empty((STATES[cell], BATCH, HIDDEN))
    for row in range(BATCH):
        for unit in range(HIDDEN):
            before = tuple(float(vector[row, unit]) for vector in state)
            one = _Unit(x[row].tolist(), state[0][row].tolist(), weights, unit)
            expected[:, row, unit] = NAIVE[cell](one, before)
    assert len(after) == STATES[cell]
    np.testing.assert_allclose(torch.stack(after).numpy(), expected, rtol=0, atol=1e-12)


def test_the_gates_of_an_lstm_explain_its_state() -> None:
    """The lstm's gates satisfy c' = f c + i g and h' = o tanh(c')."""
    x, (hidden, cell), weights = _case("lstm", 7)
    (hidden_after, cell_after), gates = STEPS["lstm"](x, (hidden, cell), weights)
    assert list(gates) == ["i", "f", "g", "o"]
    torch.testing.assert_close(cell_after, gates["f"] * cell + gates["i"] * gates["g"], rtol=0, atol=1e-14)
    torch.testing.assert_close(hidden_after, gates["o"] * torch.tanh(cell_after), rtol=0, atol=1e-14)


def test_the_gates_of_a_gru_explain_its_state() -> None:
    """The gru's gates satisfy h' = (1 - z) n + z h."""
    x, (hidden,), weights = _case("gru", 7)
    (after,), gates = STEPS["gru"](x, (hidden,), weights)
    assert list(gates) == ["r", "z", "n"]
    expected = (1 - gates["z"]) * gates["n"] + gates["z"] * hidden
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_gates_keep_their_ranges_and_shapes(cell: Cell) -> None:
    """Candidates are between -1 and 1, all other gates between 0 and 1, for every row and unit."""
    x, state, weights = _case(cell, 1)
    _, gates = STEPS[cell](x, state, weights)
    assert len(gates) == (GATES[cell] if cell != "rnn" else 0)
    for name, gate in gates.items():
        assert gate.shape == (BATCH, HIDDEN)
        assert float(gate.min()) > (-1 if name in "gn" else 0)
        assert float(gate.max()) < 1


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_leaves_what_it_is_given_alone(cell: Cell) -> None:
    """Neither input, state nor weights are modified by a step."""
    x, state, weights = _case(cell, 2)
    before = [tensor.clone() for tensor in (x, *state, *weights)]
    STEPS[cell](x, state, weights)
    assert all(torch.equal(was, tensor) for was, tensor in zip(before, (x, *state, *weights), strict=True))
