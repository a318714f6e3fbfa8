import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.errors import ConfigError
from nextchar.sampling.compiled import CompiledBackend, CompiledBatch, CompiledNetwork
from nextchar.sampling.cuda_graph import CudaGraphBackend, CudaGraphBatch
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


def _model(cell: Cell = "lstm") -> ModelFile:
    return to_file(make_model(VOCABULARY, cell=cell, hidden=16))


PARAMS = [
    SamplingParams(temperature=0.8, top_k=9, top_p=0.9, min_p=0.01),
    SamplingParams(temperature=0),
    SamplingParams(),
    SamplingParams(0.7, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.2, logit_bias=((4, 2.0),)),
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("device", DEVICES)
def test_it_generates_what_the_compiled_step_generates(cell: Cell, device: str) -> None:
    """The same keys draw the same ids with the same nats, for streams with other prompts and parameters."""
    model = _model(cell)
    compiled = CompiledBackend([CompiledNetwork(model)])
    graph = CudaGraphBackend(model, torch.device(device))
    batches = (CompiledBatch(compiled.networks, 4), CudaGraphBatch(graph, 4))
    for batch, backend in zip(batches, (compiled, graph), strict=True):
        for key, prompt in enumerate(([], [1, 2, 3], [12], [5])):
            batch.add(backend.prefill(prompt), PARAMS[key], key)
    for length in (1, 7, 20):
        logits = np.zeros((2, length, 4, 13), np.float32)
        made = [batch.generate(length, each) for batch, each in zip(batches, logits, strict=True)]
        (ids, nats), (device_ids, device_nats) = made
        assert np.array_equal(ids, device_ids)
        np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-4)
        np.testing.assert_allclose(device_nats, nats, rtol=0, atol=1e-4)
    for batch in batches:
        batch.remove(0)
        batch.remove(1)
    assert batches[1].count == 2
    assert np.array_equal(batches[0].generate(9)[0], batches[1].generate(9)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_texts_are_those_of_the_compiled_step(device: str) -> None:
    """Whole texts, with stop strings and several at a time, are the same as without torch."""
    options = SampleOptions(length=40, stop=("ab", "m"), seed=5)
    expected = sample(_model(), "abc", options, count=5)
    engine = Engine(_model())
    engine.backend = CudaGraphBackend(_model(), torch.device(device))
    found = sample(engine, "abc", options, count=5)
    assert [(s.text, s.finish_reason) for s in found] == [(s.text, s.finish_reason) for s in expected]


def test_other_weights_are_for_the_compiled_step() -> None:
    """On a torch device weights are float32; auto is the compiled step for others, and without a GPU."""
    with pytest.raises(ConfigError, match="the weights are int8, but on cuda they are fp32"):
        sample(_model(), "", SampleOptions(device="cuda", weights="int8"))
    for engine in (Engine(_model(), "int8", "auto"), Engine([_model(), _model()], device="auto")):
        assert isinstance(engine.backend, CompiledBackend)
        assert engine.device == "cpu"
    if not torch.cuda.is_available():
        assert isinstance(Engine(_model(), device="auto").backend, CompiledBackend)
