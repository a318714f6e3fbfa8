from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.errors import ConfigError
from nextchar.kernels.sampler import choose
from nextchar.sampling.cuda_graph import DeviceEngine, DeviceGroup, filtered
from nextchar.sampling.engine import Engine, Filters
from nextchar.sampling.sample import SampleOptions, sample
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
    ),
]


def _model(cell: Cell = "lstm") -> ModelFile:
    return to_file(make_model(VOCABULARY, cell=cell, hidden=16))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("device", DEVICES)
def test_it_writes_what_the_compiled_step_writes(cell: Cell, device: str) -> None:
    """The same seeds draw the same ids at the same cost, for lanes that begin after different prompts."""
    model = _model(cell)
    ours, theirs = Engine(model), DeviceEngine(model, torch.device(device))
    filters = Filters(temperature=0.8, top_k=9, top_p=0.9, min_p=0.01)
    groups = [ours.group(3, filters), theirs.group(3, filters)]
    for group, engine in zip(groups, (ours, theirs), strict=True):
        for lane, prompt in enumerate(([], [1, 2, 3], [12])):
            group.add(engine.begin(prompt), lane)
    for length in (1, 7, 20):
        (ids, nats), (device_ids, device_nats) = (group.write(length) for group in groups)
        assert np.array_equal(ids, device_ids)
        np.testing.assert_allclose(device_nats, nats, rtol=0, atol=1e-4)
    for group in groups:
        group.drop(0)
    assert np.array_equal(groups[0].write(9)[0], groups[1].write(9)[0])


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(temperature=0.3),
        Filters(top_k=3),
        Filters(top_p=0.5),
        Filters(min_p=0.2),
        Filters(temperature=1.7, top_k=6, top_p=0.8, min_p=0.05),
    ],
)
def test_the_filters_are_those_of_the_compiled_choice(filters: Filters) -> None:
    """What may be drawn, and how likely it is, is the same."""
    logits = np.random.default_rng(0).standard_normal((20, 13)).astype(np.float32) * 2
    found = filtered(torch.from_numpy(logits), filters)
    found /= found.sum(dim=-1, keepdim=True)
    for row, p in zip(logits, found.numpy(), strict=True):
        weights = np.empty(13, np.float32)
        choose(row, filters.rules(), 0.5, weights, np.empty(13, np.int64))
        np.testing.assert_allclose(p, weights / weights.sum(), rtol=0, atol=1e-5)


def test_a_draw_stays_among_what_was_kept() -> None:
    """Numbers next to 1 draw the last id with any weight, not one behind it."""
    engine = DeviceEngine(_model(), CPU)
    group = DeviceGroup(engine, 1, Filters(top_k=1))
    group.add(engine.begin(), 0)
    best = int(engine.begin().logits.argmax())
    assert group._choose(torch.tensor([1 - 2.0**-53], dtype=torch.float64)).tolist() == [best]
    assert group._choose(torch.tensor([0.0], dtype=torch.float64)).tolist() == [best]


@pytest.mark.parametrize("device", DEVICES)
def test_texts_are_those_of_the_compiled_step(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole texts, with stops and in any company, come out as without torch."""
    monkeypatch.setattr("nextchar.device.pick_device", lambda _: torch.device(device))
    plain = SampleOptions(length=40, stop=("ab", "m"), seed=5)
    expected = sample(_model(), "abc", plain, count=5)
    found = sample(_model(), "abc", replace(plain, device="cuda"), count=5)
    assert [(s.text, s.finish_reason) for s in found] == [(s.text, s.finish_reason) for s in expected]


def test_other_weights_are_for_the_compiled_step() -> None:
    """On a device of torch's, weights are float32."""
    with pytest.raises(ConfigError, match="the weights are int8, but on cuda they are fp32"):
        SampleOptions(device="cuda", weights="int8")
