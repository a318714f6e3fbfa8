import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from nextchar.kernels import cpu
from nextchar.kernels.functions import UNIT, bfloat16, exp, sigmoid, store, tanh
from nextchar.kernels.gemm import FAST, ROWS, add_block, compiled, pack_blocks, set_blocks
from nextchar.kernels.masks import fill

Array = np.ndarray


@compiled
def _exp(x: Array, out: Array) -> None:
    for index in range(len(x)):
        out[index] = exp(x[index])


@compiled
def _sigmoid(x: Array, out: Array) -> None:
    for index in range(len(x)):
        out[index] = sigmoid(x[index])


@compiled
def _tanh(x: Array, out: Array) -> None:
    for index in range(len(x)):
        out[index] = tanh(x[index])


@compiled
def _store(x: Array, out: Array) -> None:
    for index in range(len(x)):
        out[index] = store(x[index], out)


def _to_bfloat16(values: Array) -> Array:
    """Return bfloat16 bits, by definition: the nearest, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    low, high = bits & 0xFFFF, bits >> 16
    return (high + ((low > 0x8000) | ((low == 0x8000) & (high & 1 == 1)))).astype(np.uint16)


def _to_float32(halves: Array) -> Array:
    return (halves.astype(np.uint32) << 16).view(np.float32)


KINDS = [
    "float32",
    "widened bf16",
    "int8",
    pytest.param("bf16", marks=pytest.mark.skipif(not cpu.HAS_BF16, reason="this CPU does not multiply bfloat16")),
]


def _case(kind: str, depth: int, count: int) -> tuple[tuple[Array, Array, Array], Array]:
    """Return packed weights, vectors and scales, and their exact product in float64."""
    random = np.random.default_rng(depth * 100 + count)
    rows = random.standard_normal((ROWS, depth)).astype(np.float32)
    x = np.tanh(random.standard_normal((count, depth))).astype(np.float32)
    scales = np.ones(ROWS, np.float32)
    if kind == "int8":
        scales = (np.abs(rows).max(axis=1) / 127 / UNIT).astype(np.float32)
        whole = np.rint(rows / scales[:, None] / UNIT).astype(np.int8)
        short = np.rint(x * UNIT).astype(np.int16)
        exact = (short.astype(np.int64) @ whole.T.astype(np.int64)) * scales.astype(np.float64)
        return (pack_blocks(whole, pairs=True), short, scales), exact
    if kind == "float32":
        return (pack_blocks(rows, pairs=False), x, scales), x.astype(np.float64) @ rows.T
    halves = _to_bfloat16(rows)
    if kind == "bf16":
        return (pack_blocks(halves, pairs=True), _to_bfloat16(x), scales), _to_float32(_to_bfloat16(x)).astype(
            np.float64
        ) @ _to_float32(halves).T
    return (pack_blocks(halves, pairs=True), x, scales), x.astype(np.float64) @ _to_float32(halves).T


def _assembly(*arrays: Array) -> str:
    """Return the machine code of `add_block` for some types of arguments, compiled now."""
    function = njit(fastmath=FAST, error_model="numpy")(add_block.py_func)
    function(*arrays)
    (assembly,) = function.inspect_asm().values()
    return str(assembly)


@pytest.mark.slow
@pytest.mark.skipif(not cpu.X86, reason="the names of registers and instructions are x86's")
def test_the_machine_code_uses_what_the_processor_has() -> None:
    """Wide registers, fused and paired instructions are used where `cpu` says that they are there, and only there."""
    out = np.zeros((4, ROWS), np.float32)
    (weights, x, scales), _ = _case("float32", 32, 4)
    floats = _assembly(weights[0], x, out, scales)
    assert ("%zmm" in floats) == cpu.HAS_AVX512
    assert ("vfmadd" in floats) == cpu.HAS_FMA
    assert "fmaf" not in floats
    (weights, x, scales), _ = _case("int8", 32, 4)
    paired = re.search("vpmaddwd|vpdpwssd", _assembly(weights[0], x, out, scales))
    assert bool(paired) == cpu.HAS_AVX2


@compiled
def _set_blocks(weights: Array, x: Array, out: Array, scales: Array, begin: Array, part: tuple[int, int]) -> None:
    set_blocks(weights, x, out, scales, begin, part[0], part[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [(0, 3), (1, 2), (2, 3), (1, 1)])
def test_many_blocks_are_the_same_as_one_by_one(kind: str, part: tuple[int, int]) -> None:
    """The blocks of the range are set to the same bits as by `add_block`; the others are unchanged."""
    depth = 34
    (one, x, scale), _ = _case(kind, depth, 1)
    weights = np.concatenate([one, np.roll(one, 1, axis=1), np.roll(one, 2, axis=1)])
    scales = np.stack([scale, 2 * scale, 3 * scale])
    begin = np.random.default_rng(1).standard_normal((3, ROWS)).astype(np.float32)
    out = np.full((1, 3 * ROWS), 7, np.float32)
    expected = out.copy()
    for block in range(*part):
        rows = expected[:, block * ROWS : (block + 1) * ROWS]
        rows[:] = begin[block]
        add_block(weights[block], x, rows, scales[block])
    _set_blocks(weights, x, out, scales, begin, part)
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9, 16, 17, 45])
@pytest.mark.parametrize("depth", [2, 16, 32, 130, 256])
def test_a_block_is_the_product(kind: str, count: int, depth: int) -> None:
    """Every kind adds W x to the output, for any number of vectors."""
    (weights, x, scales), exact = _case(kind, depth, count)
    begin = np.random.default_rng(0).standard_normal((count, ROWS)).astype(np.float32)
    out = begin.copy()
    add_block(weights[0], x, out, scales)
    np.testing.assert_allclose(out, begin + exact, rtol=0, atol=1e-5 * depth)


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_does_not_depend_on_the_others(kind: str) -> None:
    """The sums of a vector are the same to the bit, alone and among others."""
    (weights, x, scales), _ = _case(kind, 64, 39)
    together = np.zeros((39, ROWS), np.float32)
    add_block(weights[0], x, together, scales)
    for index in range(39):
        alone = np.zeros((1, ROWS), np.float32)
        add_block(weights[0], x[index : index + 1], alone, scales)
        assert np.array_equal(alone[0], together[index])


@pytest.mark.parametrize(("ours", "exact", "tolerance"), [
    (_exp, np.exp, 2e-7),
    (_sigmoid, lambda x: 1 / (1 + np.exp(-x)), 2e-7),
    (_tanh, np.tanh, 2e-7),
])  # fmt: skip
def test_the_functions_are_accurate(ours: object, exact: object, tolerance: float) -> None:
    """The relative error of exp is small over its range, and the absolute error of the others, which are at most 1."""
    x = np.linspace(-86, 86, 100_001).astype(np.float32)
    out = np.empty_like(x)
    ours(x, out)
    expected = exact(x.astype(np.float64))
    scale = expected if ours is _exp else 1
    assert np.abs((out - expected) / scale).max() < tolerance


def test_the_functions_stay_in_bounds() -> None:
    """For large arguments sigmoid and tanh are at their limits, and exp is finite."""
    x = np.array([-1e30, -200, -90, 90, 200, 1e30], np.float32)
    for ours, low in ((_sigmoid, 0), (_tanh, -1)):
        out = np.empty_like(x)
        ours(x, out)
        np.testing.assert_allclose(out, [low] * 3 + [1] * 3, rtol=0, atol=1e-6)
    out = np.empty_like(x)
    _exp(x, out)
    assert np.isfinite(out).all()


@settings(max_examples=200, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126))
def test_bfloat16_is_the_nearest(value: float) -> None:
    """Rounding is to the nearest, ties to even."""
    x = np.array([value], np.float32)
    out = np.empty(1, np.uint16)
    _store(x, out)
    assert out[0] == _to_bfloat16(x)[0]


def test_integers_are_the_nearest() -> None:
    """An int16 is the activation times UNIT, rounded."""
    x = np.linspace(-1, 1, 1001).astype(np.float32)
    out = np.empty(x.shape, np.int16)
    _store(x, out)
    assert np.abs(out - x.astype(np.float64) * UNIT).max() <= 0.5


def test_python_cannot_call_functions_of_compiled_code() -> None:
    """A call from Python is an error and never a wrong number."""
    with pytest.raises(NotImplementedError):
        store(1.0, np.empty(1, np.float32))
    with pytest.raises(NotImplementedError):
        bfloat16(np.float32(1))


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.01, 0.99), cut=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_a_mask_does_not_depend_on_how_it_is_split(share: float, cut: int, seed: int) -> None:
    """A mask filled in two pieces is the mask filled in one; it holds 0 and 1 / (1 - share) only."""
    keys = np.array([seed, 7], np.uint32)
    whole, left, right = (np.empty((5, count), np.float32) for count in (200, cut, 200 - cut))
    fill(whole, share, keys, 0, 200)
    fill(left, share, keys, 0, 200)
    fill(right, share, keys, cut, 200)
    assert np.array_equal(whole, np.concatenate([left, right], axis=1))
    assert set(np.unique(whole)) <= {np.float32(0), np.float32(1 / (1 - share))}


def test_masks_look_random() -> None:
    """The share of zeros is right, and neither neighbours nor masks of two keys are correlated."""
    size, share = 1 << 18, 0.3
    masks = []
    for key in (0, 1):
        mask = np.empty((1, size), np.float32)
        fill(mask, share, np.array([key, 0], np.uint32), 0, size)
        masks.append(mask[0] > 0)
    error = 5 * np.sqrt(share * (1 - share) / size)
    assert abs(1 - masks[0].mean() - share) < error
    both = (1 - share) ** 2
    for one, other in ((masks[0][1:], masks[0][:-1]), (masks[0][64:], masks[0][:-64]), tuple(masks)):
        assert abs((one & other).mean() - both) < 2 * error
