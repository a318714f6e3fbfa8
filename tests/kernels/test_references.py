"""The compiled network against one written in numpy: runs without torch, and so on every processor (docs/development.md)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextchar.architecture import CELLS, GATES, Architecture, Cell, WeightKind
from nextchar.kernels.packing import KINDS
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile, read_model
from nextchar.text.vocabulary import Vocabulary

GOLDEN = Path(__file__).parent.parent / "golden"
VOCABULARY = Vocabulary("characters", tuple(range(ord("a"), ord("a") + 13)))
V = len(VOCABULARY)

Array = np.ndarray[Any, Any]


def _model(**shape: Any) -> ModelFile:
    """Return a model with random weights."""
    architecture = Architecture(**shape)
    random = np.random.default_rng(0)
    arrays = {name: random.uniform(-0.4, 0.4, size).astype(np.float32) for name, size in architecture.shapes(V).items()}
    return ModelFile(architecture, VOCABULARY, arrays)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _step(cell: Cell, from_input: Array, from_hidden: Array, hidden: Array, memory: Array) -> tuple[Array, Array]:
    """Return hidden and memory `(H,)` of a layer after a step, from its gates' two sums `(G, H)`, in PyTorch's order."""
    sums = from_input + from_hidden
    if cell == "lstm":
        i, f, o = _sigmoid(sums[0]), _sigmoid(sums[1]), _sigmoid(sums[3])
        memory = f * memory + i * np.tanh(sums[2])
        return o * np.tanh(memory), memory
    if cell == "gru":
        r, z = _sigmoid(sums[0]), _sigmoid(sums[1])
        return (1 - z) * np.tanh(from_input[2] + r * from_hidden[2]) + z * hidden, memory
    return np.tanh(sums[0]), memory


def _reference(model: ModelFile, ids: list[int]) -> Array:
    """Return the logits `(T, V)` after each id, in float64."""
    shape = model.architecture
    weights = {name: array.astype(np.float64) for name, array in model.arrays.items()}
    vectors = weights["embedding.weight"] if shape.embedding else np.eye(V + 1)[:, :V]
    state = [[np.zeros(shape.hidden), np.zeros(shape.hidden)] for _ in range(shape.layers)]
    logits = []
    for index in ids:
        x, total = vectors[index], np.zeros(shape.hidden)
        for layer, (hidden, memory) in enumerate(state):
            sums = [
                (weights[f"layers.{layer}.weight_{side}"] @ vector + weights[f"layers.{layer}.bias_{side}"])
                for side, vector in (("ih", x), ("hh", hidden))
            ]
            from_input, from_hidden = (part.reshape(GATES[shape.cell], -1) for part in sums)
            state[layer] = list(_step(shape.cell, from_input, from_hidden, hidden, memory))
            x = state[layer][0]
            total = total + x if shape.sum_outputs else x
        logits.append(weights["head.weight"] @ total + weights["head.bias"])
    return np.array(logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_compiled_network_is_the_one_in_numpy(cell: Cell, kind: WeightKind) -> None:
    """Logits agree to float32's precision, and to that of bfloat16 and of 8 bits where weights are rounded to them."""
    model = _model(cell=cell, hidden=24, embedding=4)
    ids = [V, 0, 3, 12, 7, 7, 1, 5, 2, 11]
    engine = CompiledNetwork(model, kind)
    state, rows = engine.empty, []
    for index in ids:
        _, state = engine.read([index], state)
        rows.append(state.logits[0, :V])
    expected = _reference(model, ids)
    assert np.abs(expected).max() > 0.5
    tolerance = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.05}[kind]
    np.testing.assert_allclose(rows, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("kind", "bits"), [("fp32", 1e-5), ("bf16", 0.002), ("int8", 0.002)])
def test_a_trained_model_scores_the_same(kind: WeightKind, bits: float) -> None:
    """The committed model's score of its text does not depend on the processor."""
    golden = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))
    model = read_model(GOLDEN / "model.safetensors")
    nats = CompiledNetwork(model, kind).read(model.vocabulary.encode(golden["text"]))[0].mean()
    assert nats / math.log(2) == pytest.approx(golden["nats_per_char"] / math.log(2), abs=bits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_samples_the_same(kind: WeightKind) -> None:
    """The first of seven texts is the one that is sampled alone; with fp32 it is the committed one."""
    golden = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))
    model = read_model(GOLDEN / "model.safetensors")
    options = SampleOptions(length=200, seed=1, weights=kind)
    first, *others = [text.text for text in sample(model, "The ", options, count=7)]
    assert first == sample(model, "The ", options).text
    assert len({first, *others}) == 7
    if kind == "fp32":
        assert first == golden["drawn"]
