"""Runs that version 0.1.0 interrupted are read, sampled from and resumed as that version did it.

`v010/` holds two runs of 0.1.0 of 16 steps, stopped after step 10: by default options and by the preset karpathy2015.
`resumed.safetensors` and `expected.json` hold what 0.1.0 made of them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextchar.config import compose
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.sample import sample
from nextchar.storage import read_arrays, read_model

HERE = Path(__file__).parent
RUNS = ("default", "karpathy2015")


@pytest.fixture(params=RUNS)
def expected(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what 0.1.0 made of a run, with its folder."""
    values = json.loads((HERE / "v010" / "expected.json").read_text(encoding="utf-8"))
    return {"folder": HERE / "v010" / request.param, **values[request.param]}


def drawn(folder: Path) -> str:
    """Return 200 characters after a prompt."""
    return sample(read_model(folder), "The ", SampleOptions(length=200, seed=1)).text


def test_its_model_is_sampled_to_the_same_text(expected: dict[str, Any]) -> None:
    """A model file of 0.1.0 gives the text that it gave there."""
    assert drawn(expected["folder"]) == expected["drawn"]


def test_its_options_are_read(expected: dict[str, Any]) -> None:
    """A config.toml of 0.1.0 has the same meaning under the present names."""
    folder = expected["folder"]
    config, texts = compose({}, file=folder / "config.toml")
    assert texts == ["text.txt"]
    assert (config.steps, config.batch_size, config.seq_length, config.eval_every) == (16, 4, 16, 8)
    assert (config.init, config.state_reset_prob) == {
        "default": ("orthogonal", 0.02),
        "karpathy2015": ("uniform", 0.0),
    }[folder.name]


@pytest.mark.slow
def test_its_run_is_resumed(expected: dict[str, Any], tmp_path: Path, shell: Callable[..., Any]) -> None:
    """An interrupted run of 0.1.0 comes to the weights, the score and the text that 0.1.0 came to."""
    run = tmp_path / "run"
    shutil.copytree(expected["folder"], run)
    text = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))["text"] * 8
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="")
    summary = json.loads(shell("train", tmp_path / "text.txt", "--resume", run, "--json").out)
    assert summary["steps"] == 16
    assert summary["valid"]["nats_per_char"] == pytest.approx(expected["nats"], abs=1e-5)
    arrays, _ = read_arrays(run / "training.safetensors")
    wanted, _ = read_arrays(run / "resumed.safetensors")
    for name, array in wanted.items():
        np.testing.assert_allclose(arrays[f"weights/{name}"], array, rtol=0, atol=1e-5, err_msg=name)
    assert drawn(run) == expected["resumed"]
