import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from nextchar.cli.main import main
from nextchar.storage import read_arrays, read_log, read_model
from nextchar.training import probe, ranks

if not hasattr(os, "fork"):
    pytest.skip("these tests fork, which this system cannot", allow_module_level=True)

from training.together import SECONDS, train

OPTIONS = ("--hidden", 16, "--batch-size", 6, "--seq-length", 8, "--eval-every", 4, "--precision", "fp32")
OPTIONS += ("--dropout", 0.2, "--recurrent-dropout", 0.2, "--learning-rate", 0.01, "--weight-decay", 0.1)
OPTIONS += ("--eval-chars", 400)  # less than the validation part has, so that it is divided
OPTIONS += ("--optimizer", "adamw")  # the cautious one turns the last digit of a gradient into a step or none
LOST = "another process of this training was lost"


def words(text_file: Path, folder: Path, *more: object) -> tuple[object, ...]:
    """Return the command line of a small training."""
    return (text_file, *OPTIONS, "-o", folder, *(more or ("--steps", 12)))


def snapshot(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a run's snapshot."""
    return read_arrays(folder / "training.safetensors")[0]


def assert_same(one: Path, other: Path) -> None:
    """Check that two runs ended with the same bits; name what differs."""
    for name in ("training.safetensors", "model.safetensors"):
        (arrays, about), (expected, other_about) = read_arrays(one / name), read_arrays(other / name)
        assert arrays.keys() == expected.keys()
        differ = {key: float(np.abs(arrays[key] - expected[key]).max()) for key in arrays}
        assert {key: value for key, value in differ.items() if value} == {}, name
        assert about == other_about, name


def assert_close(one: Path, other: Path) -> None:
    """Compare two runs: weights, moments and states, and the losses on the way."""
    found, expected = snapshot(one), snapshot(other)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=2e-5, err_msg=name)
    scores = [
        [entry["score"]["nats_per_char"] for entry in read_log(run / "log.jsonl") if entry["event"] == "validated"]
        for run in (one, other)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """Return a folder with the runs of 12 steps of one process and of two, `1` and `2`.

    That of one is made in the process of the tests, so that those that are forked from it find all that it has loaded.
    """
    folder = tmp_path_factory.mktemp("runs")
    (folder / "small.txt").write_text(text, encoding="utf-8", newline="")
    assert main(["train", *map(str, words(folder / "small.txt", folder / "1"))]) == 0
    assert train(folder, 2, *words(folder / "small.txt", folder / "2")).codes == [0, 0]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_several_processes_train_as_one(runs: Path, tmp_path: Path, text_file: Path, world: int) -> None:
    """With 2 and 4 processes the run is that of one, but for rounding, masks included; with the same number, to the bit.

    Six rows for four processes are two for some and one for others.
    """
    for name in ("one", "two"):
        ended = train(tmp_path, world, *words(text_file, tmp_path / name, "--steps", 12, "--json"))
        assert ended.codes == [0] * world, ended.errors
        assert ended.outputs[1:] == [""] * (world - 1)
        assert ended.errors[1:] == [""] * (world - 1)
        assert json.loads(ended.outputs[0])["steps"] == 12
    assert f"{world} processes train together" in ended.errors[0]
    assert_close(tmp_path / "one", runs / "1")
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(runs: Path, tmp_path: Path, text_file: Path) -> None:
    """A run of 3 processes that is continued with 2, and then alone, is that of one process."""
    several, alone = tmp_path / "several", tmp_path / "alone"
    shutil.copytree(runs / "1", alone)
    assert train(tmp_path, 3, *words(text_file, several)).codes == [0] * 3
    for world, run in ((2, several), (1, alone)):
        assert train(tmp_path, world, "--resume", run, "--steps", 5).codes == [0] * world
    for run in (several, alone):
        assert train(tmp_path, 1, "--resume", run, "--steps", 3).codes == [0]
    assert_close(several, alone)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_all_and_nothing_is_lost(
    runs: Path, tmp_path: Path, text_file: Path, killed: int
) -> None:
    """One sentence, exit code 1, and the same bits as an uninterrupted run after it is resumed."""
    cut = tmp_path / "cut"
    ended = train(tmp_path, 2, *words(text_file, cut), at={killed: (6, signal.SIGKILL)})
    other = 1 - killed
    assert (ended.codes[killed], ended.codes[other]) == (-signal.SIGKILL, 1)
    assert ended.errors[other].count(LOST) == 1
    assert "Traceback" not in ended.errors[other]
    assert train(tmp_path, 2, "--resume", cut).codes == [0, 0]
    assert_same(cut, runs / "2")


@pytest.mark.slow
def test_a_process_that_hangs_is_lost(tmp_path: Path, text_file: Path) -> None:
    """A process that is stopped, as on a machine without power, closes no connection; it is missed all the same."""

    def hang(rank: int) -> None:
        if rank == 1:
            ranks.BEAT_SECONDS = 1000.0

    ended = train(tmp_path, 2, *words(text_file, tmp_path / "run", "--steps", 10_000_000), prepare=hang)
    assert ended.codes == [1, 1]
    assert "".join(ended.errors).count(LOST) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "who"), [(signal.SIGINT, (0, 1)), (signal.SIGTERM, (0,)), (signal.SIGTERM, (1,))])
def test_a_signal_to_any_process_ends_all_with_the_run_saved(
    runs: Path, tmp_path: Path, text_file: Path, number: int, who: tuple[int, ...]
) -> None:
    """Ctrl-C to all, or `kill` to one: all stop after the same step, and the run goes on with the same bits."""
    cut = tmp_path / "cut"
    ended = train(tmp_path, 2, *words(text_file, cut), at=dict.fromkeys(who, (6, number)))
    assert ended.codes == [130, 130]
    assert "interrupted at step 7 of 12; everything is saved" in ended.errors[0]
    assert ended.errors[1] == ""
    assert train(tmp_path, 2, "--resume", cut).codes == [0, 0]
    assert_same(cut, runs / "2")


@pytest.mark.slow
def test_a_mistake_is_reported_once(tmp_path: Path, text_file: Path) -> None:
    """Whether all processes make it or only the first one can see it."""
    for more, message, code in [
        (("--batch-size", 2, "--steps", 1), "the batch size is 2, but 3 processes train", 1),
        (("--steps", 0), "steps is '0'", 1),
        (("--stepz", 1), "--stepz", 2),
    ]:
        ended = train(tmp_path, 3, text_file, "-o", tmp_path / "run", "--hidden", 16, *more)
        assert ended.codes == [code] * 3
        assert "".join(ended.errors).count(message) == 1
        assert "".join(ended.errors).count("nextchar: ") == 1


@pytest.mark.slow
def test_a_process_that_never_starts_is_not_waited_for_for_ever(tmp_path: Path, text_file: Path) -> None:
    """Variables of another program, such as a job scheduler, promise processes that do not come: one sentence."""

    def hurry(_: int) -> None:
        ranks.CONNECT = timedelta(seconds=0.5)

    alone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "WORLD_SIZE": "2", "RANK": "0"}
    ended = train(tmp_path, 1, *words(text_file, tmp_path / "run"), prepare=hurry, **alone)
    assert ended.codes == [1]
    assert "the 2 processes that WORLD_SIZE promises cannot connect at 127.0.0.1:0" in ended.errors[0]
    assert "Traceback" not in ended.errors[0]


@pytest.mark.slow
def test_minutes_are_counted_by_the_first_process(tmp_path: Path, text_file: Path) -> None:
    """A budget in minutes: all measure together, and make as many steps as the first decides."""

    def hurry(_: int) -> None:
        probe.PROBE_SECONDS = probe.OTHER_SECONDS = 0.01

    run = tmp_path / "run"
    ended = train(tmp_path, 2, text_file, "-o", run, "--minutes", 0.05, "--layers", 1, prepare=hurry)
    assert ended.codes == [0, 0], ended.errors
    assert read_log(run / "log.jsonl")[-1]["event"] == "finished"
    assert read_model(run).provenance["step"] > 0


@pytest.mark.slow
def test_a_restarted_training_goes_on(runs: Path, tmp_path: Path, text_file: Path) -> None:
    """Started again by torchrun, the same command resumes its run; another one, or one without -o, is refused."""
    cut = tmp_path / "cut"
    assert train(tmp_path, 2, *words(text_file, cut), at={1: (6, signal.SIGKILL)}).codes == [1, -signal.SIGKILL]
    again = {"TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_MAX_RESTARTS": "3"}
    ended = train(tmp_path, 2, *words(text_file, cut, "--layers", 1, "--steps", 12), **again)
    assert ended.codes == [1, 1]
    assert "already holds a run" in ended.errors[0]
    assert train(tmp_path, 2, *words(text_file, cut), **again).codes == [0, 0]
    assert_same(cut, runs / "2")
    ended = train(tmp_path, 2, text_file, "--steps", 1, **again)
    assert ended.codes == [1, 1]
    assert "name it with -o" in ended.errors[0]


@pytest.mark.slow
@pytest.mark.shell
def test_torchrun_restarts_a_training_by_itself(runs: Path, tmp_path: Path, text_file: Path) -> None:
    """The real torchrun: a process that is killed once costs only the steps since the last snapshot."""
    program = tmp_path / "once.py"
    program.write_text(
        "import os, signal, sys\n"
        "from nextchar.cli.main import entry\n"
        "from nextchar.training.trainer import Trainer\n"
        "advance = Trainer._advance\n"
        "def patched(trainer):\n"
        "    if trainer.step == 6 and os.environ['RANK'] + os.environ['TORCHELASTIC_RESTART_COUNT'] == '10':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    advance(trainer)\n"
        "Trainer._advance = patched\n"
        "entry()\n"
    )
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "1", str(program), "train", *map(str, words(text_file, run))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert "resuming" in done.stderr
    assert_same(run, runs / "2")
