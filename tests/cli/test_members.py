import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.storage import read_model

Shell = Callable[..., SimpleNamespace]
OPTIONS = ("--hidden", 16, "--batch-size", 4, "--seq-length", 8, "--valid", 0.2)


@pytest.fixture
def ensemble(tmp_path: Path, text_file: Path, shell: Shell) -> Path:
    """Return the folder of an ensemble of three."""
    done = shell("train", text_file, *OPTIONS, "--steps", 4, "--members", 3, "-o", tmp_path / "three", "--seed", 7)
    assert done.code == 0, done.err
    assert "three holds an ensemble of 3 models" in done.err
    return tmp_path / "three"


@pytest.mark.slow
def test_every_command_takes_an_ensemble_as_one_model_or_says_why_not(
    ensemble: Path, tmp_path: Path, text_file: Path, shell: Shell
) -> None:
    """`sample`, `evaluate` and `serve` average it, exactly as `--with`; the others name a member in one sentence."""
    one, *others = [ensemble / f"member-{number}" for number in (1, 2, 3)]
    assert [read_model(member).config["seed"] for member in (one, *others)] == [7, 8, 9]
    beside = [word for other in others for word in ("--with", other)]
    for command, more in (("sample", ("-n", 40, "--seed", 3)), ("evaluate", ("--split", "valid", "--json"))):
        found = shell(command, ensemble, *more)
        assert found.code == 0, found.err
        assert found.out == shell(command, one, *more, *beside).out
        assert found.out != shell(command, one, *more).out
    for words in (
        ("info", ensemble),
        ("inspect", ensemble, text_file),
        ("discover", ensemble, text_file),
        ("structure", ensemble, "--as", "python"),
        ("export", ensemble, tmp_path / "out.pt"),
        ("train", text_file, "--init-from", ensemble, "--steps", 1, "-o", tmp_path / "x"),
    ):
        refused = shell(*words)
        assert refused.code == 1
        assert f"{ensemble} holds an ensemble of 3 models" in refused.err
        assert f"name one of them, such as {one}" in refused.err


@pytest.mark.slow
def test_an_ensemble_is_served_as_one_model(ensemble: Path) -> None:
    """The text of the scheduler is that of `sample`."""
    import nextchar
    from nextchar.sampling.options import SampleOptions
    from nextchar.serving.models import Limits, Model
    from nextchar.serving.texts import Request

    model = Model("three", ensemble)
    ids = model.encode("import ", Limits()).ids
    served: list[object] = []
    model.scheduler.submit(Request(ids=ids, options=SampleOptions(length=30, seed=5)), served.append)
    while model.scheduler.step():
        pass
    text = "".join(getattr(part, "text", "") for part in served)
    assert text == str(nextchar.sample(nextchar.Engine(ensemble), "import ", length=30, seed=5))


@pytest.mark.slow
def test_an_ensemble_goes_on(ensemble: Path, text_file: Path, shell: Shell) -> None:
    """Members that are finished are left alone, one that was interrupted is resumed, and a new budget is for all."""
    assert "already holds a run" in shell("train", text_file, "-o", ensemble).err
    before = [(ensemble / f"member-{number}" / "model.safetensors").read_bytes() for number in (1, 2, 3)]
    for name in ("model.safetensors", "training.safetensors"):
        (ensemble / "member-2" / name).unlink()
    assert shell("train", "--resume", ensemble).code == 0
    assert [(ensemble / f"member-{number}" / "model.safetensors").read_bytes() for number in (1, 2, 3)] == before
    done = shell("train", "--resume", ensemble, "--steps", 2, "--json")
    rows = json.loads(done.out)["members"]
    assert [(row["seed"], row["steps"]) for row in rows] == [(7, 6), (8, 6), (9, 6)]
    assert "--members" in shell("train", "--resume", ensemble, "--members", 2).err
    assert shell("train", text_file, *OPTIONS, "--steps", 2, "-o", ensemble, "--overwrite").code == 0
    assert read_model(ensemble).config["seed"] == 0
    assert not (ensemble / "member-1").exists()


def test_minutes_are_shared() -> None:
    """A budget in minutes is that of the command, however many members it trains, and how many at the same time."""
    from nextchar.cli.members import config_of
    from nextchar.config import Config

    assert config_of(Config(minutes=12), 2, 4, 1) == Config(minutes=3, seed=1)
    assert config_of(Config(minutes=12, seed=5), 4, 4, 2) == Config(minutes=6, seed=8)
    assert config_of(Config(), 1, 5, 1).minutes == 1
    assert config_of(Config(steps=9), 3, 5, 1) == Config(steps=9, seed=2)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_of_torchrun_train_one_member_each(ensemble: Path, tmp_path: Path, text_file: Path) -> None:
    """The same models as in turn; one process reports."""
    from training.together import train

    words = (text_file, *OPTIONS, "--steps", 4, "--members", 3, "--seed", 7, "--json")
    ended = train(tmp_path, 2, *words, "-o", tmp_path / "both")
    assert ended.codes == [0, 0], ended.errors
    assert ended.errors[1] == ended.outputs[1] == ""
    assert len(json.loads(ended.outputs[0])["members"]) == 3
    for number in (1, 2, 3):
        one, other = (read_model(folder / f"member-{number}") for folder in (ensemble, tmp_path / "both"))
        assert all((one.arrays[name] == other.arrays[name]).all() for name in one.arrays)
