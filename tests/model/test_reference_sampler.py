import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nextchar.kernels.sampler import adjust, new_sampler
from nextchar.kernels.sampler import draw as compiled_draw
from nextchar.model.sampler import Adjustment, SamplerTensors, adjusted_logits, draw, sampling_weights
from nextchar.sampling.options import SamplingParams

Array = np.ndarray
PARAMS = st.builds(
    SamplingParams,
    st.one_of(st.just(0.0), st.just(1.0), st.floats(0.1, 5)),
    st.integers(0, 15),
    st.one_of(st.just(1.0), st.floats(0.05, 1)),
    st.one_of(st.just(0.0), st.floats(0, 1)),
)


def _tensors(params: list[SamplingParams], dtype: torch.dtype = torch.float64) -> SamplerTensors:
    columns = [[getattr(each, name) for each in params] for name in SamplerTensors._fields]
    return SamplerTensors(
        *(
            torch.tensor(column, dtype=torch.int64 if name == "top_k" else dtype)[:, None]
            for name, column in zip(SamplerTensors._fields, columns, strict=True)
        )
    )


def _compiled(logits: Array, params: list[SamplingParams], numbers: list[float]) -> tuple[list[int], Array]:
    """Return what the compiled sampler draws in each stream, and from which probabilities."""
    sampler = new_sampler(len(params), logits.shape[1])
    for name in SamplerTensors._fields:
        getattr(sampler, name)[:] = [getattr(each, name) for each in params]
    ids, rows = [], []
    for stream, row in enumerate(logits):
        weights = (np.arange(len(row)) == row.argmax()).astype(np.float32)
        order = np.empty(len(row), np.int64)
        ids.append(compiled_draw(row, sampler, stream, numbers[stream], weights, order))
        rows.append(weights / weights.sum())
    return ids, np.array(rows)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), params=st.lists(PARAMS, min_size=1, max_size=4))
def test_it_is_the_compiled_sampler(seed: int, params: list[SamplingParams]) -> None:
    """Both keep the same ids with the same probabilities, and the same numbers draw the same ids, row by row."""
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((len(params), 13)).astype(np.float32) * 2
    numbers = generator.random(len(params))
    ids, p = _compiled(logits, params, numbers.tolist())
    weights = sampling_weights(torch.from_numpy(logits).double(), _tensors(params))
    ours = (weights / weights.sum(dim=1, keepdim=True)).numpy()
    near = _edges(logits, params)
    for row in range(len(params)):
        if not near[row]:
            np.testing.assert_allclose(ours[row], p[row], rtol=0, atol=1e-5)
            assert (ours[row] > 0).tolist() == (p[row] > 0).tolist()
    drawn = draw(weights, torch.from_numpy(numbers)).tolist()
    for row in range(len(params)):
        if not near[row] and np.abs(ours[row].cumsum() - numbers[row]).min() > 1e-5:
            assert drawn[row] == ids[row]


def _edges(logits: Array, params: list[SamplingParams]) -> list[bool]:
    """Return in which rows float32 and float64 may round an id to different sides of top-p or min-p."""
    found = []
    for row, each in zip(logits.astype(np.float64), params, strict=True):
        p = np.sort(np.exp((row - row.max()) / max(each.temperature, 1e-3)))[::-1]
        kept = p[: each.top_k or None]
        reached = np.abs(kept.cumsum() - each.top_p * kept.sum()).min() / kept.sum()
        found.append(bool((each.top_p < 1 and reached < 1e-5) or np.abs(p - each.min_p).min() < 1e-5))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_draw_stays_among_what_was_kept(dtype: torch.dtype) -> None:
    """Numbers next to 1 draw the last id with any weight, not one after it; 0 draws the first."""
    weights = torch.tensor([[0.0, 0.3, 0.7, 0.0, 0.0]], dtype=dtype)
    assert draw(weights, torch.tensor([1 - 2.0**-53], dtype=dtype)).tolist() == [2]
    assert draw(weights, torch.tensor([0.0], dtype=dtype)).tolist() == [1]


def test_equals_at_an_edge_keep_the_lower_ids() -> None:
    """Of equal logits, top-k and top-p keep the first."""
    logits = torch.zeros(3, 6, dtype=torch.float64)
    params = [SamplingParams(top_k=2), SamplingParams(top_p=0.5), SamplingParams(temperature=0)]
    kept = sampling_weights(logits, _tensors(params)) > 0
    assert [row.nonzero().flatten().tolist() for row in kept] == [[0, 1], [0, 1, 2], [0]]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    repetition=st.one_of(st.just(1.0), st.floats(0.5, 2)),
    presence=st.one_of(st.just(0.0), st.floats(-2, 2)),
    frequency=st.one_of(st.just(0.0), st.floats(-2, 2)),
)
def test_penalties_are_their_definitions(seed: int, repetition: float, presence: float, frequency: float) -> None:
    """Both samplers change logits as OpenAI and Keskar et al. define it, and neutral values change not a bit."""
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal((2, 13)).astype(np.float32) * 3
    counts, bias = generator.integers(0, 3, (2, 13)), generator.normal(size=(2, 13)).astype(np.float32)
    counts[0], bias[0] = 0, 0
    expected = logits.astype(np.float64)
    for row, index in np.argwhere(counts > 0):
        logit = expected[row, index]
        expected[row, index] = logit / repetition if logit > 0 else logit * repetition
        expected[row, index] -= counts[row, index] * frequency + presence
    sampler = new_sampler(2, 13)
    sampler.repetition[:], sampler.presence[:], sampler.frequency[:] = repetition, presence, frequency
    sampler.bias[:], sampler.counts[:] = bias, counts
    compiled = np.empty_like(logits)
    for row in range(2):
        adjust(logits[row], sampler, row, compiled[row])
    columns = [torch.full((2, 1), value, dtype=torch.float64) for value in (repetition, presence, frequency)]
    adjustment = Adjustment(*columns, torch.from_numpy(bias).double())
    reference = adjusted_logits(torch.from_numpy(logits).double(), adjustment, torch.from_numpy(counts).double())
    np.testing.assert_allclose(reference, expected + bias, rtol=1e-12)
    np.testing.assert_allclose(compiled, expected + bias, rtol=0, atol=2e-5)
    np.testing.assert_array_equal(compiled[0], logits[0])
