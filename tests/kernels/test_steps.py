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
from nextchar.architecture import CELLS, STATES, Architecture, Cell, WeightKind
from nextchar.errors import ConfigError
from nextchar.kernels.barrier import Barrier, all_joined, new_barrier
from nextchar.kernels.packing import KINDS, Packed, StreamState, empty_streams, pack
from nextchar.kernels.sampler import SamplerState, negative_log_likelihood, new_sampler
from nextchar.kernels.steps import DRAW, GUARD, StepBuffers, new_scratch, padded_streams, run, run_in_threads
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.options import SamplingParams
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
V = len(VOCABULARY)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
PARAMS = [
    SamplingParams(),
    SamplingParams(temperature=0),
    SamplingParams(temperature=0.7, top_k=5, top_p=0.9, min_p=0.01),
    SamplingParams(top_p=0.6),
    SamplingParams(temperature=1.5, min_p=0.1),
]
ALONE = partial(run_in_threads, 1)

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


def _logits(network: CompiledNetwork, ids: Array, state: StreamState | None = None) -> tuple[Array, StreamState]:
    """Read ids one by one, from the empty state or another; return the logits after each, `(T, V)`, and the last state."""
    state, rows = state or network.empty, []
    for index in ids:
        _, state = network.read([index], state)
        rows.append(state.logits[0, :V])
    return np.array(rows), state


def _vectors(shape: Architecture, streams: StreamState) -> Array:
    """Return the state of the first stream as `(S, L, H)`."""
    both = [streams.hidden[0], streams.memory[0]][: STATES[shape.cell]]
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

    An untrained rnn is chaotic: where even torch's float32 is further from float64 than a quarter of that,
    four times as far.
    """
    lm = make_model(VOCABULARY, cell=cell, sum_outputs=sum_outputs, embedding=embedding, layers=layers, hidden=hidden)
    ids = _ids(30)
    expected, expected_state = _in_torch(lm, ids)
    engine = CompiledNetwork(to_file(lm))
    logits, state = _logits(engine, ids)
    rounded, _ = _in_torch(lm, ids, torch.float32)
    tolerance = max(1e-5, 4 * float(np.abs(rounded - expected).max()))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(_vectors(lm.network.architecture, state), expected_state, rtol=0, atol=tolerance)


@pytest.mark.parametrize("embedding", [0, 4])
@EVERY_CELL
def test_start_is_an_input_of_its_own(cell: Cell, embedding: int) -> None:
    """START gives the logits torch gives it, and no character gives the same."""
    lm = make_model(VOCABULARY, cell=cell, embedding=embedding)
    engine = CompiledNetwork(to_file(lm))
    rows = []
    for index in range(V + 1):
        rows.append(_logits(engine, np.array([index]))[0][0])
        np.testing.assert_allclose(rows[-1], _in_torch(lm, np.array([index]))[0][0], rtol=0, atol=1e-5)
    assert all(np.abs(row - rows[V]).max() > 1e-4 for row in rows[:V])


@EVERY_KIND
@EVERY_CELL
@pytest.mark.parametrize("split", [1, 39])
def test_two_calls_are_one(cell: Cell, split: int, kind: WeightKind) -> None:
    """Ids read in two calls, or one by one, the state carried, give exactly the nats and the state of one call."""
    engine, ids = CompiledNetwork(to_file(make_model(VOCABULARY, cell=cell, hidden=7)), kind), _ids(40)
    whole, once = engine.read(ids, engine.empty)
    first, between = engine.read(ids[:split], engine.empty)
    second, twice = engine.read(ids[split:], between)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    for one, other, each in zip(once, twice, _logits(engine, ids)[1], strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, each)


@EVERY_KIND
@EVERY_CELL
def test_units_that_fill_a_block_stay_at_zero(cell: Cell, kind: WeightKind) -> None:
    """A layer of 5 units has padded ones beside them, and whatever is read these are exactly 0."""
    engine = CompiledNetwork(to_file(make_model(VOCABULARY, cell=cell, hidden=5)), kind)
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
    engine = CompiledNetwork(to_file(make_model(VOCABULARY, cell=cell)))
    _, state = engine.read([1, 2, 3])
    before = [array.copy() for array in state]
    nats, after = engine.read([4, 5], state)
    for array, other, copied in zip(state, after, before, strict=True):
        np.testing.assert_array_equal(array, copied)
        assert not np.array_equal(other, array) or (cell == "rnn" and not array.any())
    np.testing.assert_array_equal(engine.read([4, 5], state)[0], nats)


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
    half, whole = CompiledNetwork(model, "bf16"), CompiledNetwork(replace(model, arrays=rounded_arrays))
    assert half.packed.above.dtype == np.uint16
    ids = _ids(40)
    np.testing.assert_array_equal(_logits(half, ids)[0], _logits(whole, ids)[0])
    plain = CompiledNetwork(model)
    assert not np.array_equal(_logits(half, ids)[0], _logits(plain, ids)[0])


@EVERY_CELL
def test_int8_is_near(cell: Cell) -> None:
    """Weights of 8 bits and activations of 12 behind the point give logits near the true ones."""
    model = to_file(make_model(VOCABULARY, cell=cell, layers=3, hidden=21))
    small, whole = CompiledNetwork(model, "int8"), CompiledNetwork(model)
    ids = _ids(40)
    near, true = _logits(small, ids)[0], _logits(whole, ids)[0]
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


def _sampler(keys: list[int], params: list[SamplingParams]) -> SamplerState:
    """Return a sampler of one stream for each key; stream j has drawn j % 3 ids before."""
    sampler = new_sampler(len(keys), V)
    sampler.keys[:] = np.array(keys, np.uint64)
    sampler.drawn[:] = np.arange(len(keys)) % 3
    for name in ("temperature", "top_k", "top_p", "min_p"):
        getattr(sampler, name)[:] = [getattr(each, name) for each in params]
    return sampler


def _generate(
    packed: Packed,
    keys: list[int],
    chunks: list[int],
    params: list[SamplingParams] | None = None,
    run: Callable[..., int] = ALONE,
) -> list[Array]:
    """Let streams generate from START in calls of so many ids; return ids, nats and every array of the state."""
    count = len(keys)
    streams = empty_streams(packed, padded_streams(count))
    sampler = _sampler(keys, params or PARAMS[:1] * count)
    run(StepBuffers(np.full((1, count), V), np.zeros((1, count))), packed, streams, sampler)
    generated = []
    for chunk in chunks:
        ids, nats = np.full((chunk, count), DRAW), np.zeros((chunk, count))
        assert run(StepBuffers(ids, nats), packed, streams, sampler) == chunk
        generated.append((ids, nats))
    ids, nats = (np.concatenate(parts).T for parts in zip(*generated, strict=True))
    return [ids, nats, sampler.drawn, *(array[:count] for array in streams)]


@settings(max_examples=12)
@given(data=st.data())
@EVERY_KIND
@EVERY_CELL
def test_a_stream_does_not_depend_on_the_others(cell: Cell, kind: WeightKind, data: st.DataObject) -> None:
    """A stream's ids, nats and state are the same to the bit beside any others, in any order, with any parameters."""
    packed = _packed(to_file(make_model(VOCABULARY, cell=cell, hidden=23)), kind)
    keys = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=11, unique=True))
    params = data.draw(st.lists(st.sampled_from(PARAMS), min_size=len(keys), max_size=len(keys)))
    together = _generate(packed, keys, [25], params)
    stream = 3 * data.draw(st.integers(0, (len(keys) - 1) // 3))  # which has drawn 0 ids before, as when alone
    by_itself = _generate(packed, [keys[stream]], [25], [params[stream]])
    for alone, beside in zip(by_itself, together, strict=True):
        np.testing.assert_array_equal(alone[0], beside[stream])


@settings(max_examples=15)
@given(chunks=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(sum))
def test_how_many_ids_a_call_generates_changes_nothing(chunks: list[int]) -> None:
    """The ids of many calls are the ids of one."""
    packed = _packed(to_file(make_model(VOCABULARY)))
    for part, whole in zip(
        _generate(packed, [1, 2, 3], chunks), _generate(packed, [1, 2, 3], [sum(chunks)]), strict=True
    ):
        np.testing.assert_array_equal(part, whole)


def test_given_and_drawn_ids_may_follow_each_other() -> None:
    """Reading what was generated gives the same nats and the same state as generating it."""
    engine = CompiledNetwork(to_file(make_model(VOCABULARY)))
    ids, nats, *state = _generate(engine.packed, [7], [30])
    given, after = engine.read(ids[0])
    np.testing.assert_array_equal(given, nats[0])
    for one, other in zip(state[1:], after, strict=True):
        np.testing.assert_array_equal(one, other)


def _in_threads(size: int, buffers: StepBuffers, *rest: object, wait: bool = True) -> int:
    """Run with a thread for each helper; the leader begins when all have joined, or does not wait for them."""
    barrier = new_barrier(size, buffers.ids.shape[1])
    helpers = [
        threading.Thread(target=run, args=(buffers, *rest, barrier._replace(rank=rank))) for rank in range(1, size)
    ]
    for helper in helpers:
        helper.start()
    while wait and not all_joined(barrier):
        pass
    done = run(buffers, *rest, barrier)
    for helper in helpers:
        helper.join()
    return done


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "hidden"), [(1, 5), (2, 70), (3, 16)])
@pytest.mark.parametrize("size", [2, 3])
@EVERY_KIND
@EVERY_CELL
def test_several_threads_generate_what_one_does(
    cell: Cell, kind: WeightKind, size: int, layers: int, hidden: int
) -> None:
    """Blocks shared by threads, more or fewer than there are, give ids, nats and states the same to the bit."""
    packed = _packed(to_file(make_model(VOCABULARY, cell=cell, layers=layers, hidden=hidden)), kind)
    for keys in ([7], [1, 2, 3]):
        alone = _generate(packed, keys, [1, 30])
        together = _generate(packed, keys, [1, 30], run=partial(_in_threads, size))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sum_outputs", [True, False])
def test_helpers_may_join_at_any_step(sum_outputs: bool) -> None:
    """Helpers that join late, too late or in the middle of a call change nothing, for many calls."""
    packed = _packed(to_file(make_model(VOCABULARY, layers=3, hidden=70, sum_outputs=sum_outputs)))
    alone = _generate(packed, [7], [9] * 100)
    for several in (partial(_in_threads, 2, wait=False), partial(run_in_threads, 2), partial(run_in_threads, 3)):
        for one, other in zip(_generate(packed, [7], [9] * 100, run=several), alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_several_threads_read_what_one_does() -> None:
    """Nats and states are the same to the bit, and the call ends after a stop id."""
    engine = CompiledNetwork(to_file(make_model(VOCABULARY, hidden=70)), threads=1)
    ids = _ids(40)
    sampler = new_sampler(1, V)
    sampler.stop_ids[:] = True
    buffers = StepBuffers(np.append(ids, [DRAW, DRAW])[:, None].copy(), np.zeros((42, 1)))
    streams = empty_streams(engine.packed, 1)
    assert _in_threads(2, buffers, engine.packed, streams, sampler) == 41
    nats, expected = engine.read(buffers.ids[:41, 0], engine.empty)
    np.testing.assert_array_equal(buffers.nats[:41, 0], nats)
    for one, other in zip(streams, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_helper_whose_leader_has_finished_returns() -> None:
    """A helper that starts after the end changes nothing, and waits for no other thread."""
    packed = _packed(to_file(make_model(VOCABULARY)))
    barriers: list[Barrier] = []

    def alone(buffers: StepBuffers, *rest: object) -> int:
        barriers.append(new_barrier(2, 1))
        done = run(buffers, *rest, barriers[-1])
        before = [array.copy() for array in rest[1]]  # type: ignore[index]
        run(buffers, *rest, barriers[-1]._replace(rank=1))
        for one, other in zip(before, rest[1], strict=True):  # type: ignore[call-overload]
            np.testing.assert_array_equal(one, other)
        return done

    for one, other in zip(_generate(packed, [7], [9], run=alone), _generate(packed, [7], [9]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_leader_that_waits_too_long_continues_alone() -> None:
    """Helpers that are released in the middle of a call leave ids, nats and states the same to the bit."""
    packed = _packed(to_file(make_model(VOCABULARY, layers=3, hidden=70)))

    def interrupted(buffers: StepBuffers, *rest: object) -> int:
        barrier = new_barrier(2, 1)
        helper = threading.Thread(target=run, args=(buffers, *rest, barrier._replace(rank=1)))
        helper.start()
        done: list[int] = []
        leader = threading.Thread(target=lambda: done.append(run(buffers, *rest, barrier)))
        leader.start()
        while not len(buffers.ids) // 2 < barrier.counters[0, 0] and leader.is_alive():
            pass
        barrier.counters[0, 1] = 1
        helper.join()
        leader.join()
        return done[0]

    for one, other in zip(_generate(packed, [7], [4000], run=interrupted), _generate(packed, [7], [4000]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_drawing_does_not_depend_on_where_memory_is() -> None:
    """Nats are the same to the bit with logits next to the memory around the weights, on either side."""
    generator = np.random.default_rng(0)
    packed = _packed(to_file(make_model(VOCABULARY)))
    weights = new_scratch(packed, empty_streams(packed, 1), V).weights
    assert weights.base is not None
    assert weights.base.size == V + 2 * GUARD
    for _ in range(50):
        logits = generator.normal(0, 3, V).astype(np.float32)
        expected = negative_log_likelihood(logits, 3, weights)
        memory = np.zeros(2 * V + 2 * GUARD, np.float32)
        for near, rest in ((memory[:V], memory[V + GUARD : 2 * V + GUARD]), (memory[-V:], memory[GUARD : V + GUARD])):
            near[:] = logits
            assert negative_log_likelihood(near, 3, rest) == expected
