"""The kernels of training against numpy: runs without torch, and so on every processor (docs/development.md)."""

from typing import Any

import numpy as np

from nextchar.kernels import lstm_training
from nextchar.kernels.gemm import ROWS, VECTOR_WIDTH

T, B, H, ROWS_OF_TABLE = 4, 7, 32, 5
BLOCKS = H // VECTOR_WIDTH

Array = np.ndarray[Any, Any]


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _reference(table: Array, weight: Array, ids: Array) -> Array:
    """Return the outputs `(T, B, H)` of a layer in float64, from the rows `(U, 4H)` that its inputs add to the gates."""
    hidden, cell = np.zeros((B, H)), np.zeros((B, H))
    outputs = []
    for step in ids:
        i, f, g, o = np.split(table[step] + hidden @ weight.T, 4, axis=1)
        cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
        hidden = _sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return np.array(outputs)


def _blocks(table: Array) -> Array:
    """Return rows `(U, 4H)` in blocks of 16 units with their four gates, `(U, H / 16, 64)`."""
    split = table.reshape(len(table), 4, BLOCKS, VECTOR_WIDTH).swapaxes(1, 2)
    return np.ascontiguousarray(split).reshape(len(table), BLOCKS, ROWS).astype(np.float32)


def test_forward_and_backward_are_those_of_an_lstm() -> None:
    """Outputs equal numpy's, and the gradient of the table equals the slope of numpy's loss in a random direction."""
    random = np.random.default_rng(0)
    table = random.standard_normal((ROWS_OF_TABLE, 4 * H))
    weight = random.uniform(-0.3, 0.3, (4 * H, H)).astype(np.float32)
    ids = random.integers(0, ROWS_OF_TABLE, (T, B))
    expected = _reference(table, weight, ids)

    packed = np.zeros((BLOCKS, H, ROWS), np.float32)
    lstm_training.pack_units(weight, packed, 0, BLOCKS)
    gates = np.empty((T, B, BLOCKS, ROWS), np.float32)
    hidden, cells = (np.zeros((T + 1, B, BLOCKS, VECTOR_WIDTH), np.float32) for _ in range(2))
    for first, last in ((0, 4), (4, B)):
        lstm_training.look_up(_blocks(table), ids, gates, first, last)
        lstm_training.forward(packed, gates, hidden, cells, first, last)
    np.testing.assert_allclose(hidden[1:].reshape(T, B, H), expected, rtol=0, atol=1e-5)

    loss_weights = random.standard_normal((T, B, H))
    transposed = np.zeros((-(-H // ROWS), 4 * H, ROWS), np.float32)
    lstm_training.pack_transposed(weight, transposed, 0, len(transposed))
    d_hidden = np.zeros((T, B, ROWS), np.float32)
    d_hidden[:, :, :H] = loss_weights
    d_table = np.zeros((ROWS_OF_TABLE, BLOCKS, ROWS), np.float32)
    for first, last in ((0, 4), (4, B)):
        gradients = (
            d_hidden,
            np.zeros((B, BLOCKS, VECTOR_WIDTH), np.float32),
            np.empty((T, B, 4, BLOCKS, VECTOR_WIDTH), np.float32),
            d_table,
        )
        lstm_training.backward(transposed, (gates, cells), gradients, ids, first, last)
    direction = random.standard_normal(table.shape)
    losses = [(_reference(table + side * direction, weight, ids) * loss_weights).sum() for side in (1e-5, -1e-5)]
    slope = (losses[0] - losses[1]) / 2e-5
    assert abs(slope) > 1
    np.testing.assert_allclose((_blocks(direction) * d_table).sum(), slope, rtol=1e-4)
