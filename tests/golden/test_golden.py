"""A committed model, what it writes and what it scores: the file format and the arithmetic must not drift."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from nextchar.evaluation.score import evaluate
from nextchar.kernels.packing import WeightKind
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.storage import load, read_model, write_model

HERE = Path(__file__).parent
MODEL = HERE / "model.safetensors"


@pytest.fixture
def golden() -> dict[str, Any]:
    """Return what was true of the model when it was committed."""
    return json.loads((HERE / "golden.json").read_text(encoding="utf-8"))


def test_the_greedy_text(golden: dict[str, Any]) -> None:
    """Argmax from the empty state writes the same 200 characters."""
    assert (
        sample(read_model(MODEL), "", SampleOptions(length=200, params=SamplingParams(0)))[0].text
        == golden["greedy"]
    )


def test_the_drawn_text(golden: dict[str, Any]) -> None:
    """A seed writes the same 200 characters."""
    assert sample(read_model(MODEL), "The ", SampleOptions(length=200, seed=1))[0].text == golden["drawn"]


def test_the_score(golden: dict[str, Any]) -> None:
    """The torch network scores the same text the same."""
    assert evaluate(load(MODEL), golden["text"]).nats_per_char == pytest.approx(
        golden["nats_per_char"], abs=1e-5
    )


@pytest.mark.parametrize(("weights", "bits"), [("fp32", 1e-5), ("bf16", 0.002), ("int8", 0.002)])
def test_the_score_of_the_engine(golden: dict[str, Any], weights: WeightKind, bits: float) -> None:
    """The compiled engine scores it the same too, and rounded weights cost next to nothing on real text."""
    model = read_model(MODEL)
    nats = CompiledNetwork(model, weights).read(model.vocabulary.encode(golden["text"]))[0].mean()
    assert nats / math.log(2) == pytest.approx(golden["nats_per_char"] / math.log(2), abs=bits)


def test_the_bytes_of_the_file(golden: dict[str, Any], tmp_path: Path) -> None:
    """Reading the model and writing it again gives the same file."""
    write_model(tmp_path / "again.safetensors", read_model(MODEL))
    assert hashlib.sha256((tmp_path / "again.safetensors").read_bytes()).hexdigest() == golden["sha256"]
    assert (tmp_path / "again.safetensors").read_bytes() == MODEL.read_bytes()
