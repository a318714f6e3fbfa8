import pytest
import torch
from torch import Tensor

from nextchar.architecture import CELLS, GATES, STATES, Cell
from nextchar.model.cells import Weights
from nextchar.model.recurrence import Recurrence, fused, reference
from nextchar.model.state import LayerState

BOTH = pytest.mark.parametrize("recurrence", [reference, fused])
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def _draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator) * 0.7


def _case(cell: Cell, T: int, N: int, *, hidden: int = 5, width: int = 4) -> tuple[Tensor, LayerState, Weights]:
    generator = torch.Generator().manual_seed(100 * T + N)
    rows = GATES[cell] * hidden
    state = tuple(_draw(generator, N, hidden) for _ in range(STATES[cell]))
    shapes = ((rows, width), (rows, hidden), (rows,), (rows,))
    return _draw(generator, T, N, width), state, Weights(*(_draw(generator, *shape) for shape in shapes))


def _close(one: tuple[Tensor, ...], other: tuple[Tensor, ...], tolerance: float) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@EVERY_CELL
@pytest.mark.parametrize("N", [1, 3, 8])
@pytest.mark.parametrize("T", [1, 2, 33])
def test_the_fused_recurrence_is_the_reference(cell: Cell, T: int, N: int) -> None:
    """Outputs and state of the fused recurrence equal the reference's, to 1e-10."""
    x, state, weights = _case(cell, T, N)
    slow, slow_after = reference(cell, x, state, weights)
    fast, fast_after = fused(cell, x, state, weights)
    assert fast.shape == (T, N, 5)
    _close((fast, *fast_after), (slow, *slow_after), 1e-10)


def _gradients(recurrence: Recurrence, cell: Cell, T: int, N: int) -> tuple[Tensor, ...]:
    x, state, weights = _case(cell, T, N)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, *state, *weights)]
    outputs, after = recurrence(cell, leaves[0], tuple(leaves[1:-4]), Weights(*leaves[-4:]))
    generator = torch.Generator().manual_seed(0)
    loss = sum(((y * _draw(generator, *y.shape)).sum() for y in (outputs, *after)), torch.zeros(()))
    return torch.autograd.grad(loss, leaves)


@EVERY_CELL
@pytest.mark.parametrize(("T", "N"), [(1, 1), (2, 3), (17, 4)])
def test_both_recurrences_have_the_same_gradients(cell: Cell, T: int, N: int) -> None:
    """The gradients of inputs, state and weights agree, to 1e-9."""
    _close(_gradients(fused, cell, T, N), _gradients(reference, cell, T, N), 1e-9)


@EVERY_CELL
def test_the_reference_has_the_gradients_of_finite_differences(cell: Cell) -> None:
    """Numerical differentiation confirms the gradient of the reference with respect to everything."""
    x, state, weights = _case(cell, 3, 2, hidden=2, width=2)
    leaves = tuple(tensor.clone().requires_grad_() for tensor in (x, *state, *weights))

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, after = reference(cell, tensors[0], tensors[1:-4], Weights(*tensors[-4:]))
        return outputs, *after

    assert torch.autograd.gradcheck(function, leaves)


@BOTH
@EVERY_CELL
@pytest.mark.parametrize("split", [1, 4, 8])
def test_reading_in_two_parts_is_reading_at_once(recurrence: Recurrence, cell: Cell, split: int) -> None:
    """f(xy, s) = f(y, f(x, s)), in outputs and in state."""
    x, state, weights = _case(cell, 9, 2)
    whole, after = recurrence(cell, x, state, weights)
    first, between = recurrence(cell, x[:split], state, weights)
    second, end = recurrence(cell, x[split:], between, weights)
    _close((torch.cat([first, second]), *end), (whole, *after), 1e-12)


@BOTH
@EVERY_CELL
def test_the_last_output_is_the_hidden_vector_after(recurrence: Recurrence, cell: Cell) -> None:
    """The state after a window begins with the output of its last step."""
    x, state, weights = _case(cell, 6, 3)
    outputs, after = recurrence(cell, x, state, weights)
    assert len(after) == STATES[cell]
    torch.testing.assert_close(outputs[-1], after[0], rtol=0, atol=0)


@BOTH
@EVERY_CELL
def test_a_window_leaves_its_state_alone(recurrence: Recurrence, cell: Cell) -> None:
    """The state that is handed in is not modified."""
    x, state, weights = _case(cell, 6, 3)
    before = tuple(vector.clone() for vector in state)
    recurrence(cell, x, state, weights)
    assert all(torch.equal(was, vector) for was, vector in zip(before, state, strict=True))


@EVERY_CELL
def test_signals_have_every_step_row_and_unit(cell: Cell) -> None:
    """The reference's signals have shape (T, B, H), beside the outputs it always returns."""
    x, state, weights = _case(cell, 7, 3)
    outputs, after = reference(cell, x, state, weights, record := [])
    (gates,) = record
    memory = {"lstm": {"i", "f", "g", "o", "c", "tanh_c", "h"}, "gru": {"r", "z", "n", "h"}, "rnn": {"h"}}
    assert set(gates) == memory[cell]
    torch.testing.assert_close(gates["h"], outputs, rtol=0, atol=0)
    assert all(gate.shape == (7, 3, 5) for gate in gates.values())
    plain, plain_after = reference(cell, x, state, weights)
    _close((outputs, *after), (plain, *plain_after), 0)


def test_the_gates_of_a_window_retell_its_outputs() -> None:
    """From the first cell and the gates alone, c = f c + i g and h = o tanh(c) give every output."""
    x, state, weights = _case("lstm", 12, 2)
    outputs, after = reference("lstm", x, state, weights, record := [])
    (gates,) = record
    cell = state[1]
    for t in range(12):
        cell = gates["f"][t] * cell + gates["i"][t] * gates["g"][t]
        torch.testing.assert_close(outputs[t], gates["o"][t] * torch.tanh(cell), rtol=0, atol=1e-14)
    torch.testing.assert_close(after[1], cell, rtol=0, atol=1e-14)
