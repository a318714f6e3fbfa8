"""ONNX: the graph is valid and computes what the network computes, and the example writes text with it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import nextchar
from conftest import make_model
from nextchar.errors import ConfigError, MissingExtraError
from nextchar.exporting import onnx as exporting
from nextchar.language_model import LanguageModel
from nextchar.text.vocabulary import Vocabulary

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_sample.py"
LETTERS = Vocabulary("characters", tuple(map(ord, "\n abé€")))
SHAPES: list[dict[str, Any]] = [
    {"cell": cell, "layers": layers, "embedding": embedding, "sum_outputs": sum_outputs}
    for cell in ("lstm", "gru", "rnn")
    for layers, embedding, sum_outputs in ((1, 4, True), (2, 4, True), (3, 0, False), (2, 0, True))
]


def read_in_pieces(path: Path, ids: Any, *, ends: tuple[int, ...]) -> Any:
    """Return the logits `(B, T, V)` of ids `(B, T)`, read in pieces by ONNX Runtime with the state carried."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state = {
        each.name: np.zeros((each.shape[0], len(ids), each.shape[2]), np.float32) for each in session.get_inputs()[1:]
    }
    found = []
    for piece in np.split(ids, ends, axis=1):
        logits, *after = session.run(None, {"ids": piece, **state})
        state = dict(zip(state, after, strict=True))
        found.append(logits)
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_computes_what_the_network_computes(
    tmp_path: Path, random: np.random.Generator, shape: dict[str, Any]
) -> None:
    """ONNX Runtime has the same logits to 1e-5: three texts side by side, one character alone and then two pieces."""
    lm = make_model(LETTERS, **shape)
    nextchar.export(lm, tmp_path / "a.onnx")
    ids = random.integers(0, len(LETTERS) + 1, (3, 50))
    with torch.no_grad():
        expected, _ = lm.network(torch.tensor(ids.T), lm.network.empty_state(3))
    found = read_in_pieces(tmp_path / "a.onnx", ids, ends=(1, 20))
    np.testing.assert_allclose(found, expected.numpy().swapaxes(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_is_valid(tmp_path: Path, shape: dict[str, Any]) -> None:
    """ONNX's own checker accepts it, shapes included; batch and length are free, sizes are known."""
    nextchar.export(make_model(LETTERS, **shape), tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    sizes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in (*model.graph.input, *model.graph.output)
    }
    state = [shape["layers"], "B", 8]
    cell = {"cell": state, "cell_after": state} if shape["cell"] == "lstm" else {}
    expected = {"ids": ["B", "T"], "logits": ["B", "T", 6], "hidden": state, "hidden_after": state, **cell}
    assert sizes == expected


def test_the_metadata_has_the_vocabulary(tmp_path: Path) -> None:
    """A program finds units, characters in the order of ids, START and the shape; START is explained."""
    lm = make_model(LETTERS)
    nextchar.export(lm, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about.pop("vocabulary")) == list(map(ord, "\n abé€"))
    assert json.loads(about.pop("architecture")) == lm.network.architecture.as_dict()
    assert about == {"units": "characters", "start": "6"}
    assert "START" in session.get_modelmeta().graph_description


def test_equal_models_are_equal_files(lm: LanguageModel, tmp_path: Path) -> None:
    """Nothing in the file depends on the time or on an order that changes."""
    for name in ("a.onnx", "b.onnx"):
        nextchar.export(lm, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("embedding", [0, 16])
def test_int8_is_near(tmp_path: Path, random: np.random.Generator, embedding: int) -> None:
    """An lstm in int8 is valid, smaller, and its log-probabilities are near those of float32."""
    lm = make_model(LETTERS, hidden=64, embedding=embedding)
    whole = nextchar.export(lm, tmp_path / "a.onnx")
    small = nextchar.export(lm, tmp_path / "b.onnx", weights="int8")
    onnx.checker.check_model(onnx.load(tmp_path / "b.onnx"), full_check=True)
    assert small.bytes < 0.4 * whole.bytes
    ids = random.integers(0, len(LETTERS) + 1, (2, 40))
    one, other = (
        torch.log_softmax(torch.tensor(read_in_pieces(tmp_path / name, ids, ends=(5,))), -1)
        for name in ("a.onnx", "b.onnx")
    )
    assert 0 < (one - other).abs().mean() < 0.05 * one.std()


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_cells_without_an_int8_kernel_are_refused(tmp_path: Path, cell: str) -> None:
    """ONNX Runtime multiplies only an lstm in int8."""
    with pytest.raises(ConfigError, match=f"has no int8 {cell}, only an int8 lstm; take --weights fp32"):
        nextchar.export(make_model(LETTERS, cell=cell), tmp_path / "a.onnx", weights="int8")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_too_large_is_refused(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the format has a limit."""
    monkeypatch.setattr(exporting, "LARGEST", 100)
    with pytest.raises(ConfigError, match="but an ONNX file at most 2"):
        nextchar.export(lm, tmp_path / "a.onnx")


def test_a_missing_package_is_named(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without onnx, one sentence has the line that installs it."""
    monkeypatch.delitem(sys.modules, "nextchar.exporting.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed; pip install 'nextchar\[export\]'"):
        nextchar.export(lm, tmp_path / "a.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("units", ["characters", "bytes"])
def test_the_example_writes_without_nextchar_and_torch(tmp_path: Path, units: str) -> None:
    """examples/onnx_sample.py, where neither can be imported, writes the likeliest text that `sample` writes."""
    vocabulary = LETTERS if units == "characters" else Vocabulary("bytes", tuple(b"\n ab"))
    lm = make_model(vocabulary, seed=2)
    nextchar.export(lm, tmp_path / "a.onnx")
    alone = (
        f"import runpy, sys; sys.modules.update(nextchar=None, torch=None, onnx=None); runpy.run_path({str(EXAMPLE)!r})"
    )
    words = [sys.executable, "-I", "-c", alone, tmp_path / "a.onnx", "ab a", "60", "0.0001"]
    said = subprocess.run(words, capture_output=True, check=True)
    expected = nextchar.sample(lm, "ab a", length=60, temperature=0)
    assert said.stdout.decode() == expected.text
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 31
