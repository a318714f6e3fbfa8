"""Commands that are killed: what they leave is read, and a run ends with the same bits, also if it is killed at its end."""

import os
from pathlib import Path

import numpy as np
import pytest

import kills
from nextchar.config import Config
from nextchar.errors import ConfigError
from nextchar.storage import CONFIG, MODEL, TRAINING, ModelFile, read_arrays, read_model, write_model
from nextchar.text.corpus import open_corpus
from nextchar.text.paths import expand
from nextchar.training import record as room
from nextchar.training.events import Finished, Validated
from nextchar.training.record import record
from nextchar.training.run import Run
from nextchar.training.start import make_trainer

SMALL = Config(steps=20, hidden=16, embedding=4, batch_size=4, seq_length=16, eval_every=5, eval_chars=200, valid=0.2)


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_run_that_is_killed_while_it_is_calibrated_is_not_finished(
    tmp_path: Path, text_file: Path, calibrate: bool
) -> None:
    """Between the last snapshot and the end a model is calibrated and scored: a killed run does that when it is resumed."""
    corpus, whole, killed = open_corpus(text_file), tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        events = record(make_trainer(corpus, SMALL.replace(calibrate=calibrate)), folder, [str(text_file)])
        for event in events:
            if folder is killed and isinstance(event, Finished):
                events.close()
                break
    run = Run.open(killed)
    assert run.snapshot is not None
    assert not run.snapshot.unfinished
    assert not run.finished
    assert "temperature" not in read_model(killed).provenance
    run.resume(progress=False)
    assert Run.open(killed).finished
    assert Run.open(whole).finished
    assert read_model(killed).provenance == read_model(whole).provenance
    one, other = (read_arrays(folder / MODEL)[0] for folder in (whole, killed))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_run_without_a_validation_part_is_finished_at_its_last_step(tmp_path: Path, text_file: Path) -> None:
    """Where nothing is calibrated or scored, the last snapshot is the end."""
    for _ in record(make_trainer(open_corpus(text_file), SMALL.replace(valid=0.0)), tmp_path, [str(text_file)]):
        pass
    assert Run.open(tmp_path).finished


def test_a_model_of_another_run_is_not_the_best_of_a_snapshot(
    tmp_path: Path, text_file: Path, model_file: object
) -> None:
    """A model file that was put in place of a run's own does not take part in it."""
    for event in record(make_trainer(open_corpus(text_file), SMALL), tmp_path, [str(text_file)]):
        if isinstance(event, Validated) and event.step == 10:
            break
    write_model(tmp_path / MODEL, model_file)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not a model of the run"):
        Run.open(tmp_path)
    assert expand(tmp_path / CONFIG).exists()
    assert (tmp_path / TRAINING).exists()


def test_a_finished_run_has_its_samples(tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last model, with which a run is finished, is written after samples and curve: a kill leaves none of them out."""
    real = room.write_model

    def write(path: Path, model: ModelFile) -> None:
        if "temperature" in model.provenance:
            assert (tmp_path / room.SAMPLES).read_text(encoding="utf-8").count("── step") == 2
            assert (tmp_path / room.CURVE).exists()
        real(path, model)

    monkeypatch.setattr(room, "write_model", write)
    for _ in record(make_trainer(open_corpus(text_file), SMALL), tmp_path, [str(text_file)]):
        pass
    assert Run.open(tmp_path).finished


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 1e308), ("weight_decay", 1e300), ("forget_bias", -1e40)])
def test_numbers_that_float32_cannot_hold_are_refused(name: str, value: float) -> None:
    """An option as large as that is refused by its name, not by torch in the middle of a step."""
    with pytest.raises(ConfigError, match=f"{name} is .* but must be"):
        Config.make({name: value})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("scenario", ["train and resume", "export to .safetensors", "encode a text"])
def test_a_killed_command_leaves_what_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    """Killed at random moments, commands leave no file that is cut; `make torture` kills hundreds of them."""
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ((_, tried, result),) = kills.killed(4 if scenario.startswith("train") else 20, 0, f"SIGKILL: {scenario}", tmp_path)
    assert tried == 2
    assert result.endswith("; 0 faults"), result
