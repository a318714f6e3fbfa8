import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_model
from nextchar.architecture import CELLS, STATES, Architecture, Cell
from nextchar.errors import ConfigError
from nextchar.kernels.barrier import Team, gathered, new_team
from nextchar.kernels.packing import KINDS, Packed, StreamState, WeightKind, empty_streams, pack
from nextchar.kernels.sampler import Rules
from nextchar.kernels.steps import TO_CHOOSE, Drawing, Passage, rounded, run, run_together
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
V = len(VOCABULARY)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
PLAIN = Rules(1.0, 0, 1.0, 0.0)
ALONE = partial(run_together, 1)

Array = np.ndarray


def _packed(model: ModelFile, kind: WeightKind = "fp32") -> Packed:
    return pack(model.architecture, model.arrays, len(model.vocabulary), kind)


def _ids(size: int, seed: int = 0) -> Array:
    ids = np.random.default_rng(seed).integers(0, V + 1, size)
    ids[0] = VOCABULARY.start
    return ids


def _in_torch(lm: LanguageModel, ids: Array, dtype: torch.dtype = torch.float64) -> tuple[Array, Array]:
    """Return the torch network's logits `(T, V)`, in float64, and its state laid out as `(S, L, H)`."""
    network = copy.deepcopy(lm.network).to(dtype)
    empty = tuple(tuple(vector.to(dtype) for vector in layer) for layer in network.empty_state(1))
    with torch.no_grad():
        logits, after = network(torch.from_numpy(ids)[:, None], empty)
    vectors = [[layer[s][0].numpy() for layer in after] for s in range(STATES[lm.network.architecture.cell])]
    return logits[:, 0].numpy(), np.array(vectors)


def _vectors(shape: Architecture, lanes: StreamState) -> Array:
    """Return the state of the first lane as `(S, L, H)`."""
    both = [lanes.hidden[0], lanes.memory[0]][: STATES[shape.cell]]
    return np.array([vector.reshape(shape.layers, -1)[:, : shape.hidden] for vector in both])


@EVERY_CELL
@pytest.mark.parametrize("sum_outputs", [True, False])
@pytest.mark.parametrize("embedding", [0, 4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("hidden", [5, 16, 40])
def test_the_compiled_step_is_the_network(
    cell: Cell, sum_outputs: bool, embedding: int, layers: int, hidden: int
) -> None:
    """Compiled logits and state equal torch's to 1e-5, for every shape, START among the ids.

    An untrained rnn is chaotic: where even torch's float32 is further from float64 than a quarter of that, four times as far.
    """
    lm = make_model(
        VOCABULARY, cell=cell, sum_outputs=sum_outputs, embedding=embedding, layers=layers, hidden=hidden
    )
    ids = _ids(30)
    expected, expected_state = _in_torch(lm, ids)
    engine = Engine(to_file(lm))
    logits, state = engine.read(ids, engine.empty)
    rounded, _ = _in_torch(lm, ids, torch.float32)
    tolerance = max(1e-5, 4 * float(np.abs(rounded - expected).max()))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        _vectors(lm.network.architecture, state), expected_state, rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("embedding", [0, 4])
@EVERY_CELL
def test_start_is_an_input_of_its_own(cell: Cell, embedding: int) -> None:
    """START gives the logits torch gives it, and no character gives the same."""
    lm = make_model(VOCABULARY, cell=cell, embedding=embedding)
    engine = Engine(to_file(lm))
    rows = []
    for index in range(V + 1):
        rows.append(engine.read([index], engine.empty)[0][0])
        np.testing.assert_allclose(rows[-1], _in_torch(lm, np.array([index]))[0][0], rtol=0, atol=1e-5)
    assert all(np.abs(row - rows[V]).max() > 1e-4 for row in rows[:V])


@EVERY_KIND
@EVERY_CELL
@pytest.mark.parametrize("split", [1, 39])
def test_two_calls_are_one(cell: Cell, split: int, kind: WeightKind) -> None:
    """Ids read in two calls, the state carried, give exactly the logits and state of one call."""
    engine, ids = Engine(to_file(make_model(VOCABULARY, cell=cell, hidden=7)), kind), _ids(40)
    whole, once = engine.read(ids, engine.empty)
    first, between = engine.read(ids[:split], engine.empty)
    second, twice = engine.read(ids[split:], between)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    for one, other in zip(once, twice, strict=True):
        np.testing.assert_array_equal(one, other)


@EVERY_KIND
@EVERY_CELL
def test_units_that_fill_a_block_stay_at_zero(cell: Cell, kind: WeightKind) -> None:
    """A layer of 5 units has padded ones beside them, and whatever is read these are exactly 0."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell, hidden=5)), kind)
    _, state = engine.read(_ids(60), engine.empty)
    for array in (state.hidden, state.memory):
        assert not array.reshape(2, -1)[:, 5:].any()
    assert state.hidden.reshape(2, -1)[:, :5].all()


@EVERY_CELL
def test_packing_copies_no_meaning_away(cell: Cell) -> None:
    """Packing in any kind leaves a model's arrays as they were."""
    model = to_file(make_model(VOCABULARY, cell=cell))
    before = {name: array.copy() for name, array in model.arrays.items()}
    for kind in KINDS:
        _packed(model, kind)
    assert all(np.array_equal(before[name], array) for name, array in model.arrays.items())


@EVERY_CELL
def test_reading_leaves_the_given_state_alone(cell: Cell) -> None:
    """Engine.read returns a new state, and reading again from the old one gives the same."""
    engine = Engine(to_file(make_model(VOCABULARY, cell=cell)))
    state = engine.begin([1, 2, 3])
    before = [array.copy() for array in state]
    logits, after = engine.read([4, 5], state)
    for array, other, copied in zip(state, after, before, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not np.array_equal(other, array) or (cell == "rnn" and not array.any())
    np.testing.assert_array_equal(engine.read([4, 5], state)[0], logits)


@EVERY_CELL
def test_bf16_is_the_model_with_rounded_matrices(cell: Cell) -> None:
    """Weights kept as bfloat16 give exactly the logits of float32 weights rounded so; tables and biases are not."""
    model = to_file(make_model(VOCABULARY, cell=cell, layers=3, hidden=21))
    rounded_arrays = {
        name: torch.from_numpy(array).bfloat16().float().numpy()
        if name.endswith(("weight_hh", "head.weight")) or ("weight_ih" in name and "layers.0" not in name)
        else array
        for name, array in model.arrays.items()
    }
    half, whole = Engine(model, "bf16"), Engine(replace(model, arrays=rounded_arrays))
    assert half.packed.above.dtype == np.uint16
    ids = _ids(40)
    np.testing.assert_array_equal(half.read(ids, half.empty)[0], whole.read(ids, whole.empty)[0])
    plain = Engine(model)
    assert not np.array_equal(half.read(ids, half.empty)[0], plain.read(ids, plain.empty)[0])


@EVERY_CELL
def test_int8_is_near(cell: Cell) -> None:
    """Weights of 8 bits and activations of 12 behind the point give logits near the true ones."""
    model = to_file(make_model(VOCABULARY, cell=cell, layers=3, hidden=21))
    small, whole = Engine(model, "int8"), Engine(model)
    ids = _ids(40)
    near, true = small.read(ids, small.empty)[0], whole.read(ids, whole.empty)[0]
    assert 0 < np.sqrt(np.mean((near - true) ** 2)) < 0.015 * true.std()


@pytest.mark.parametrize(("layers", "hidden"), [(1, 4200), (8, 16)])
def test_int8_refuses_what_its_whole_numbers_cannot_hold(layers: int, hidden: int) -> None:
    """A sum that could leave 32 bits, or outputs that could leave 16, are refused with the remedy."""
    shape = Architecture(cell="rnn", layers=layers, hidden=hidden, embedding=1)
    arrays = {name: np.zeros(size, np.float32) for name, size in shape.shapes(V).items()}
    arrays["head.weight"][:] = 0.5
    with pytest.raises(ConfigError, match=f"{layers} layers of {hidden} units is too large .* bf16"):
        pack(shape, arrays, V, "int8")
    pack(shape, arrays, V, "bf16")


def test_a_kind_that_is_none_is_refused() -> None:
    """A kind of weights that does not exist is an error that lists those that do."""
    with pytest.raises(ConfigError, match="weights is 'fp4', but must be one of fp32, bf16, int8"):
        _packed(to_file(make_model(VOCABULARY)), "fp4")  # type: ignore[arg-type]


def _write(
    packed: Packed,
    keys: list[int],
    chunks: list[int],
    rules: Rules = PLAIN,
    run: Callable[..., int] = ALONE,
) -> list[Array]:
    """Let lanes write from START in calls of so many characters; return ids, nats and every array of the state."""
    count = len(keys)
    lanes = empty_streams(packed, rounded(count))
    drawing = Drawing(
        rules, np.array(keys, np.uint64), np.arange(count, dtype=np.int64) % 3, np.zeros(V, np.bool_)
    )
    nothing = np.empty((0, 0, 0), np.float32)
    run(Passage(np.full((1, count), V), np.zeros((1, count)), nothing), packed, lanes, drawing)
    written = []
    for chunk in chunks:
        ids, nats = np.full((chunk, count), TO_CHOOSE), np.zeros((chunk, count))
        assert run(Passage(ids, nats, nothing), packed, lanes, drawing) == chunk
        written.append((ids, nats))
    ids, nats = (np.concatenate(parts).T for parts in zip(*written, strict=True))
    return [ids, nats, drawing.places, *(array[:count] for array in lanes)]


@settings(max_examples=12)
@given(data=st.data())
@EVERY_KIND
@EVERY_CELL
def test_a_lane_does_not_feel_its_company(cell: Cell, kind: WeightKind, data: st.DataObject) -> None:
    """Whatever lanes stand beside it and in whatever order, a lane's ids, costs and state are the same to the bit."""
    packed = _packed(to_file(make_model(VOCABULARY, cell=cell, hidden=23)), kind)
    keys = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=11, unique=True))
    rules = data.draw(st.sampled_from([PLAIN, Rules(0.7, 5, 0.9, 0.01), Rules(0.0, 0, 1.0, 0.0)]))
    together = _write(packed, keys, [25], rules)
    lane = 3 * data.draw(st.integers(0, (len(keys) - 1) // 3))  # whose first place is 0, as when alone
    for alone, beside in zip(_write(packed, [keys[lane]], [25], rules), together, strict=True):
        np.testing.assert_array_equal(alone[0], beside[lane])


@settings(max_examples=15)
@given(chunks=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum))
def test_how_many_characters_a_call_writes_changes_nothing(chunks: list[int]) -> None:
    """Characters in many calls are the characters of one."""
    packed = _packed(to_file(make_model(VOCABULARY)))
    for part, whole in zip(
        _write(packed, [1, 2, 3], chunks), _write(packed, [1, 2, 3], [sum(chunks)]), strict=True
    ):
        np.testing.assert_array_equal(part, whole)


def test_given_and_chosen_ids_may_follow_each_other() -> None:
    """Reading what was written gives the same costs and the same state as writing it."""
    engine = Engine(to_file(make_model(VOCABULARY)))
    ids, nats, *state = _write(engine.packed, [7], [30])
    np.testing.assert_array_equal(engine.nats(ids[0]), nats[0])
    for one, other in zip(state[1:], engine.begin(ids[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def _in_threads(size: int, passage: Passage, *rest: object, wait: bool = True) -> int:
    """Run with a thread for each helper; the leader begins when all have come, or does not wait for them."""
    team = new_team(size, passage.ids.shape[1])
    helpers = [
        threading.Thread(target=run, args=(passage, *rest, team._replace(number=number)))
        for number in range(1, size)
    ]
    for helper in helpers:
        helper.start()
    while wait and not gathered(team):
        pass
    done = run(passage, *rest, team)
    for helper in helpers:
        helper.join()
    return done


@pytest.mark.parametrize(("layers", "hidden"), [(1, 5), (2, 70), (3, 16)])
@pytest.mark.parametrize("size", [2, 3])
@EVERY_KIND
@EVERY_CELL
def test_a_team_writes_what_one_core_writes(
    cell: Cell, kind: WeightKind, size: int, layers: int, hidden: int
) -> None:
    """Blocks shared among cores, more or fewer than there are, give ids, costs and states the same to the bit."""
    packed = _packed(to_file(make_model(VOCABULARY, cell=cell, layers=layers, hidden=hidden)), kind)
    for keys in ([7], [1, 2, 3]):
        alone = _write(packed, keys, [1, 30])
        together = _write(packed, keys, [1, 30], run=partial(_in_threads, size))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sum_outputs", [True, False])
def test_helpers_may_come_at_any_step(sum_outputs: bool) -> None:
    """Helpers that come late, too late or in the middle of a call change nothing, for many calls."""
    packed = _packed(to_file(make_model(VOCABULARY, layers=3, hidden=70, sum_outputs=sum_outputs)))
    alone = _write(packed, [7], [9] * 100)
    for several in (partial(_in_threads, 2, wait=False), partial(run_together, 2), partial(run_together, 3)):
        for one, other in zip(_write(packed, [7], [9] * 100, run=several), alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_team_reads_and_records_what_one_core_does() -> None:
    """What is given and recorded is the same to the bit, and the call ends where it should."""
    model = to_file(make_model(VOCABULARY, hidden=70))
    engine = Engine(model, team=1)
    ids = _ids(40)
    expected, _ = engine.read(ids, engine.empty)
    drawing = Drawing(PLAIN, np.zeros(1, np.uint64), np.zeros(1, np.int64), np.ones(V, np.bool_))
    passage = Passage(
        np.append(ids, [TO_CHOOSE, TO_CHOOSE])[:, None].copy(),
        np.zeros((42, 1)),
        np.zeros((42, 1, V), np.float32),
    )
    assert _in_threads(2, passage, engine.packed, empty_streams(engine.packed, 1), drawing) == 41
    np.testing.assert_array_equal(passage.record[:40, 0], expected)


def test_a_helper_whose_leader_is_done_goes_home() -> None:
    """Who comes after the end does nothing, and waits for nobody."""
    packed = _packed(to_file(make_model(VOCABULARY)))
    teams: list[Team] = []

    def alone(passage: Passage, *rest: object) -> int:
        teams.append(new_team(2, 1))
        done = run(passage, *rest, teams[-1])
        before = [array.copy() for array in rest[1]]  # type: ignore[index]
        run(passage, *rest, teams[-1]._replace(number=1))
        for one, other in zip(before, rest[1], strict=True):  # type: ignore[call-overload]
            np.testing.assert_array_equal(one, other)
        return done

    for one, other in zip(_write(packed, [7], [9], run=alone), _write(packed, [7], [9]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_leader_that_waits_too_long_goes_on_alone() -> None:
    """Helpers sent away in the middle of a call leave ids, costs and states the same to the bit."""
    packed = _packed(to_file(make_model(VOCABULARY, layers=3, hidden=70)))

    def interrupted(passage: Passage, *rest: object) -> int:
        team = new_team(2, 1)
        helper = threading.Thread(target=run, args=(passage, *rest, team._replace(number=1)))
        helper.start()
        done: list[int] = []
        leader = threading.Thread(target=lambda: done.append(run(passage, *rest, team)))
        leader.start()
        while not len(passage.ids) // 2 < team.board[0, 0] and leader.is_alive():
            pass
        team.board[0, 1] = 1
        helper.join()
        leader.join()
        return done[0]

    for one, other in zip(
        _write(packed, [7], [4000], run=interrupted), _write(packed, [7], [4000]), strict=True
    ):
        np.testing.assert_array_equal(one, other)
