"""A committed model, its texts and its score: the file format and the arithmetic must not change."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nextchar.architecture import WeightKind
from nextchar.evaluation.score import evaluate
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.storage import load, read_model, write_model

HERE = Path(__file__).parent
MODEL = HERE / "model.safetensors"


@pytest.fixture
def golden() -> dict[str, Any]:
    """Return the texts and the score of the model when it was committed."""
    return json.loads((HERE / "golden.json").read_text(encoding="utf-8"))


def test_the_greedy_text(golden: dict[str, Any]) -> None:
    """Argmax from the empty state gives the same 200 characters."""
    assert sample(read_model(MODEL), "", SampleOptions(length=200, params=SamplingParams(0))).text == golden["greedy"]


def test_the_drawn_text(golden: dict[str, Any]) -> None:
    """A seed gives the same 200 characters."""
    assert sample(read_model(MODEL), "The ", SampleOptions(length=200, seed=1)).text == golden["drawn"]


def test_the_score(golden: dict[str, Any]) -> None:
    """The torch network scores the same text the same."""
    assert evaluate(load(MODEL), golden["text"]).nats_per_char == pytest.approx(golden["nats_per_char"], abs=1e-5)


@pytest.mark.parametrize(("weights", "bits"), [("fp32", 1e-5), ("bf16", 0.002), ("int8", 0.002)])
def test_the_score_of_the_engine(golden: dict[str, Any], weights: WeightKind, bits: float) -> None:
    """The compiled network scores it the same too, and rounded weights lose next to nothing on real text."""
    model = read_model(MODEL)
    nats = CompiledNetwork(model, weights).read(model.vocabulary.encode(golden["text"]))[0].mean()
    assert nats / math.log(2) == pytest.approx(golden["nats_per_char"] / math.log(2), abs=bits)


def test_the_bytes_of_the_file(golden: dict[str, Any], tmp_path: Path) -> None:
    """Reading the model and writing it again gives the same file."""
    write_model(tmp_path / "again.safetensors", read_model(MODEL))
    assert hashlib.sha256((tmp_path / "again.safetensors").read_bytes()).hexdigest() == golden["sha256"]
    assert (tmp_path / "again.safetensors").read_bytes() == MODEL.read_bytes()


@pytest.mark.parametrize("weights", ["bf16", "int8"])
def test_the_bytes_of_a_smaller_file(golden: dict[str, Any], tmp_path: Path, weights: WeightKind) -> None:
    """Its weights are rounded to the same bits as when the format was new, and reading and writing keep them."""
    write_model(tmp_path / "small.safetensors", replace(read_model(MODEL), weights=weights))
    content = (tmp_path / "small.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == golden["sha256_small"][weights]
    write_model(tmp_path / "again.safetensors", read_model(tmp_path / "small.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == content


def test_texts_of_version_010() -> None:
    """Version 0.1.0 gave the same texts for all parameters and kinds of weights, with stops and several at a time."""
    expected = json.loads((HERE / "v010" / "sampled.json").read_text(encoding="utf-8"))
    for weights in ("fp32", "bf16", "int8"):
        engine = Engine(MODEL, weights)
        for case in (case for case in expected["texts"] if case["weights"] == weights):
            options = SampleOptions(
                length=expected["length"],
                params=SamplingParams(**case["params"]),
                stop=expected["stop"],
                seed=expected["seed"],
            )
            found = sample(engine, expected["prompt"], options, count=len(case["samples"]))
            for one, (text, chars, finish_reason, nats) in zip(found, case["samples"], strict=True):
                assert (one.text, one.chars, one.finish_reason) == (text, chars, finish_reason)
                assert one.nats_per_char == pytest.approx(nats, abs=1e-5)
