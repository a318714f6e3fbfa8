import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import speed
from nextchar.storage import ModelFile, write_model


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a way to run the script on small work; it returns what was printed."""
    monkeypatch.setattr(speed, "CEILINGS", {"64x64x64": speed.Product(64, 64, 64)})
    monkeypatch.setattr(speed, "COPIES", 1)

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["_", "--sizes", "1x16", "--seconds", "0.001", *map(str, words)])
        capsys.readouterr()
        speed.main()
        return capsys.readouterr().out

    return call


@pytest.mark.slow
def test_every_part_is_measured_beside_its_ceiling(run: Callable[..., str]) -> None:
    """Every figure is positive, shares and ratios have both their sides, and the tables show every part."""
    report = json.loads(run("--only", "ceilings", "training", "generation", "encoding", "--json"))
    assert set(report) == {"machine", "ceilings", "training", "generation", "encoding"}
    training, generation = report["training"]["1x16"], report["generation"]["1x16"]
    assert 0 < training["ceiling_share"] < 10
    assert training["times_stock_fp32"] > 0
    assert min(row["bound_share"] for row in generation["one_stream"].values()) > 0
    installed = {"nn.LSTM", "nn.LSTMCell"} | (
        {"ONNX Runtime", "ONNX Runtime int8"} if find_spec("onnxruntime") else set()
    )
    assert {name for name, each in generation["beside"].items() if each} == installed
    assert all(set(times) == installed for times in generation["times"].values())
    assert min(report["encoding"].values()) > 0
    tables = speed.all_tables(report)
    sizes = [len(rows) for title, rows in tables.items() if title != "Ceilings: products, all cores"]
    assert sizes == [5, 2, 4, 2, 3]
    assert all(len(row) == len(rows[0]) for rows in tables.values() for row in rows)


@pytest.mark.slow
def test_the_kinds_of_weights_agree(
    run: Callable[..., str], tmp_path: Path, model_file: ModelFile, text_file: Path
) -> None:
    """On a real text float32 has the score of torch, and rounded weights nearly the same."""
    write_model(tmp_path / "m.safetensors", model_file)
    output = run("--only", "scoring", "--agree", tmp_path / "m.safetensors", text_file, "--json")
    found = json.loads(output)["agreement"]
    assert found["chars"] == len(text_file.read_text())
    assert abs(found["fp32"] - found["reference"]) < 1e-5
    assert 0 < max(abs(found[kind] - found["fp32"]) for kind in ("bf16", "int8")) < 0.01
    assert "Agreement on 20,000 characters" in run(
        "--only", "scoring", "--agree", tmp_path / "m.safetensors", text_file
    )


@pytest.mark.parametrize("missing", ["model", "text"])
def test_a_missing_file_is_found_before_measuring(
    run: Callable[..., str],
    tmp_path: Path,
    model_file: ModelFile,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    """A model or a text that does not exist is refused at once."""
    monkeypatch.setattr(speed, "measure", lambda *_: pytest.fail("measured"))
    write_model(tmp_path / "m.safetensors", model_file)
    model = tmp_path / ("wrong" if missing == "model" else "m.safetensors")
    text = tmp_path / "wrong.txt" if missing == "text" else text_file
    with pytest.raises(ValueError, match="there is no"):
        run("--agree", model, text)
