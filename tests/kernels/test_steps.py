import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, STATES, Cell
from nextchar.kernels.packing import empty_vectors, pack
from nextchar.kernels.steps import run
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
V = len(VOCABULARY)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)

Floats = np.ndarray


def _ids(size: int, seed: int = 0) -> Floats:
    ids = np.random.default_rng(seed).integers(0, V + 1, size)
    ids[0] = VOCABULARY.start
    return ids


def _in_torch(lm: LanguageModel, ids: Floats) -> tuple[Floats, Floats]:
    """Return the torch network's logits `(T, V)`, and its state laid out as `(S, L, H)`."""
    with torch.no_grad():
        logits, after = lm.network(torch.from_numpy(ids)[:, None], lm.network.empty_state(1))
    vectors = [[layer[s][0].numpy() for layer in after] for s in range(STATES[lm.network.architecture.cell])]
    return logits[:, 0].numpy(), np.array(vectors)


def _compiled(lm: LanguageModel, ids: Floats, state: Floats) -> Floats:
    logits = np.full((len(ids), V), np.nan, np.float32)
    run(CELLS.index(lm.network.architecture.cell), ids, pack(to_file(lm)), state, logits)
    return logits


@EVERY_CELL
@pytest.mark.parametrize("sum_outputs", [True, False])
@pytest.mark.parametrize("embedding", [0, 4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("hidden", [7, 16])
def test_the_compiled_step_is_the_network(
    cell: Cell, sum_outputs: bool, embedding: int, layers: int, hidden: int
) -> None:
    """Compiled logits and state equal torch's to 1e-5, for every shape, START among the ids."""
    lm = make_model(
        VOCABULARY, cell=cell, sum_outputs=sum_outputs, embedding=embedding, layers=layers, hidden=hidden
    )
    ids = _ids(50)
    expected, expected_state = _in_torch(lm, ids)
    state = empty_vectors(to_file(lm))
    logits = _compiled(lm, ids, state)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state, expected_state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("embedding", [0, 4])
@EVERY_CELL
def test_start_is_an_input_of_its_own(cell: Cell, embedding: int) -> None:
    """START gives the logits torch gives it, and no character gives the same."""
    lm = make_model(VOCABULARY, cell=cell, embedding=embedding)
    rows = []
    for index in range(V + 1):
        ids = np.array([index])
        rows.append(_compiled(lm, ids, empty_vectors(to_file(lm)))[0])
        np.testing.assert_allclose(rows[-1], _in_torch(lm, ids)[0][0], rtol=0, atol=1e-5)
    assert all(np.abs(row - rows[V]).max() > 1e-4 for row in rows[:V])


@EVERY_CELL
@pytest.mark.parametrize("split", [1, 17, 39])
def test_two_calls_are_one(cell: Cell, split: int) -> None:
    """Ids read in two calls, the state carried, give exactly the logits and state of one call."""
    lm, ids = make_model(VOCABULARY, cell=cell, hidden=7), _ids(40)
    once, twice = empty_vectors(to_file(lm)), empty_vectors(to_file(lm))
    whole = _compiled(lm, ids, once)
    parts = [_compiled(lm, ids[:split], twice), _compiled(lm, ids[split:], twice)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(twice, once)


@EVERY_CELL
def test_the_empty_state_is_zero_for_every_vector_and_layer(cell: Cell) -> None:
    """The state before any text is zeros of shape (S, L, H)."""
    state = empty_vectors(to_file(make_model(VOCABULARY, cell=cell, layers=3, hidden=5)))
    assert state.shape == (STATES[cell], 3, 5)
    assert state.dtype == np.float32
    assert not state.any()


@EVERY_CELL
def test_packing_copies_no_meaning_away(cell: Cell) -> None:
    """Packing leaves a model's arrays as they were and gives contiguous float32 ones."""
    model = to_file(make_model(VOCABULARY, cell=cell, layers=2))
    before = {name: array.copy() for name, array in model.arrays.items()}
    packed = pack(model)
    assert all(np.array_equal(before[name], array) for name, array in model.arrays.items())
    for array in packed[:-1]:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous


@EVERY_CELL
def test_reading_leaves_the_given_state_alone(cell: Cell) -> None:
    """Engine.read returns a new state, and reading again from the old one gives the same."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    _, state = engine.begin([1, 2, 3])
    before = state.copy()
    logits, after = engine.read([4, 5], state)
    np.testing.assert_array_equal(state, before)
    assert not np.array_equal(after, before)
    again, after_again = engine.read([4, 5], state)
    np.testing.assert_array_equal(again, logits)
    np.testing.assert_array_equal(after_again, after)
