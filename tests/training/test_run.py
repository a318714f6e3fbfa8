"""The run folder: what is in it, that it can always be read, and that nothing is ever half written."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextchar.config import Config, make_config, read_toml
from nextchar.errors import MissingExtraError, ModelFileError
from nextchar.storage import CHECKPOINTS, CONFIG, MODEL, TRAINING, holds_run, read_arrays, read_model, to_file
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training import record as room
from nextchar.training.curve import draw_curve
from nextchar.training.record import CURVE, LOG, SAMPLES, record
from nextchar.training.run import Run
from nextchar.training.start import make_trainer
from nextchar.training.trainer import Trainer

SMALL = Config(
    steps=24, hidden=12, embedding=8, batch_size=4, seq_length=16, dropout=0.2, learning_rate=4e-3, eval_every=6
)


def die_at(count: int, function: Callable[..., object]) -> Callable[..., object]:
    """Return a function whose call number `count` kills the process without warning."""
    left = [count]

    def wrapped(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return wrapped


def go_on_in_a_child(folder: Path, text: Path, place: tuple[object, str], count: int) -> int:
    """Train in a forked process that is killed at call number `count` of a function; return its exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    owner, name = place
    setattr(owner, name, die_at(count, getattr(owner, name)))
    for _ in record(Run.open(folder).trainer(open_corpus([str(text)])), folder, [str(text)]):
        pass
    os._exit(0)


def finish(folder: Path, corpus: Corpus, config: Config = SMALL) -> None:
    """Train to the end with the folder listening."""
    for _ in record(make_trainer(corpus, config), folder, ["a.txt"]):
        pass


def test_a_run_folder_holds_everything(tmp_path: Path, corpus: Corpus) -> None:
    """Config, log, best model, snapshot, samples and curve are there, and each can be read."""
    finish(tmp_path, corpus)
    names = {CONFIG, LOG, MODEL, TRAINING, SAMPLES, CURVE}
    assert {path.name for path in tmp_path.iterdir()} == names
    values, texts = read_toml(tmp_path / CONFIG)
    assert texts == ["a.txt"]
    assert make_config(values).steps == 24
    entries = [json.loads(line) for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in entries if e["event"] == "validated"] == [6, 12, 18, 24]
    assert entries[-1]["event"] == "finished"
    model = read_model(tmp_path)
    assert model.provenance["valid"]["protocol"] == "stream"
    assert (tmp_path / SAMPLES).read_text(encoding="utf-8").startswith("── step 10 ──\n")
    assert "<svg" in (tmp_path / CURVE).read_text(encoding="utf-8")
    assert holds_run(tmp_path)


def test_the_config_of_a_run_repeats_it(tmp_path: Path, corpus: Corpus) -> None:
    """Training again from the config that was written gives the same model file, byte for byte."""
    finish(tmp_path / "one", corpus)
    values, _ = read_toml(tmp_path / "one" / CONFIG)
    finish(tmp_path / "two", corpus, make_config(values))
    one, two = ((tmp_path / name / MODEL).read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("place", "counts"),
    [((Trainer, "_advance"), (1, 15, 2)), ((os, "fsync"), (4, 9, 16)), ((Path, "replace"), (2, 6, 11))],
    ids=["in a step", "before a sync", "before a rename"],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, text_file: Path, place: tuple[object, str], counts: tuple[int, ...]
) -> None:
    """However often and wherever a run is killed, its files can be read and its end is the uninterrupted one's."""
    corpus = open_corpus([str(text_file)])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(whole, corpus)
    room.write_text(broken / CONFIG, room.to_toml(SMALL, [str(text_file)]))
    for count in (*counts, 10**9):
        assert go_on_in_a_child(broken, text_file, place, count) == (0 if count == 10**9 else signal.SIGKILL)
        for name in (MODEL, TRAINING):
            if (broken / name).exists():
                read_arrays(broken / name)
    for name in (MODEL, TRAINING):
        one, other = read_arrays(whole / name)[0], read_arrays(broken / name)[0]
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)
    assert (whole / SAMPLES).read_bytes() == (broken / SAMPLES).read_bytes()


def test_a_full_disk_leaves_the_last_good_files(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is no space left in the middle of a run, what was saved before can still be read and resumed."""
    real = room.write_snapshot
    written: list[int] = []

    def full(path: Path, snapshot: object) -> None:
        written.append(1)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, snapshot)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "write_snapshot", full)
    with pytest.raises(OSError, match="No space left"):
        finish(tmp_path, corpus)
    snapshot = Run.open(tmp_path).snapshot
    assert snapshot is not None
    assert snapshot.step == 6
    assert not list(tmp_path.glob(".*"))


def test_a_log_cut_short_is_read_to_the_cut(tmp_path: Path) -> None:
    """A last line that a killed run did not finish is left out."""
    (tmp_path / LOG).write_text('{"event": "stopped", "step": 1}\n{"event": "sto', encoding="utf-8")
    assert room.read_log(tmp_path / LOG) == [{"event": "stopped", "step": 1}]


def test_what_was_logged_after_the_snapshot_is_taken_out(tmp_path: Path) -> None:
    """A resumed log keeps what came up to the snapshot's step; a new one begins empty."""
    lines = "".join(json.dumps({"event": "stopped", "step": step}) + "\n" for step in (1, 2, 3))
    for step, kept in ((2, [1, 2]), (0, [])):
        (tmp_path / LOG).write_text(lines, encoding="utf-8")
        log = room.Log(tmp_path / LOG, step)
        log.close()
        assert [entry["step"] for entry in room.read_log(tmp_path / LOG)] == kept


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """Resuming what is no run says what is missing."""
    with pytest.raises(ModelFileError, match="holds no run to resume"):
        Run.open(tmp_path)


def test_a_model_without_its_snapshot_is_not_trained_over(tmp_path: Path, corpus: Corpus) -> None:
    """A folder whose model has learnt, but whose snapshot is gone, does not begin anew; before the first step it does."""
    finish(tmp_path, corpus)
    (tmp_path / TRAINING).unlink()
    with pytest.raises(ModelFileError, match=r"lacks training\.safetensors; --init-from .* starts from its model"):
        Run.open(tmp_path)
    for event in record(make_trainer(corpus, SMALL), tmp_path):
        if event.step:
            break
    (tmp_path / TRAINING).unlink()
    assert Run.open(tmp_path).snapshot is None


@pytest.mark.parametrize("changes", [{"valid": 0.0}, {"eval_every": 20}])
def test_an_interrupted_run_leaves_what_it_has_learnt(
    tmp_path: Path, corpus: Corpus, changes: dict[str, float]
) -> None:
    """Where nothing was validated so far, the model that is left is the network as it is, not as it was at step 0."""
    trainer = make_trainer(corpus, SMALL.replace(**changes))
    for event in record(trainer, tmp_path):
        if event.step == 10:
            trainer.stop()
    model = read_model(tmp_path)
    assert model.provenance["step"] == 10
    weights = to_file(trainer.current_model()).arrays
    assert all(np.array_equal(model.arrays[name], weights[name]) for name in weights)


def test_a_new_run_takes_the_place_of_an_old_one(tmp_path: Path, corpus: Corpus) -> None:
    """What an old run left is gone when the new one begins, and is still there when that cannot begin."""
    for _ in record(make_trainer(corpus, SMALL), tmp_path, keep_checkpoints=True):
        pass
    assert [path.name for path in sorted((tmp_path / CHECKPOINTS).iterdir())] == [
        "step-000010.safetensors",
        "step-000020.safetensors",
        "step-000024.safetensors",
    ]
    next(record(Run.open(tmp_path).trainer(corpus, steps=1), tmp_path))
    assert (tmp_path / CHECKPOINTS).exists()
    next(record(make_trainer(corpus, SMALL), tmp_path))
    assert not (tmp_path / CHECKPOINTS).exists()
    assert Run.open(tmp_path).snapshot is None


def test_the_config_of_a_run_names_the_model_it_started_from(tmp_path: Path, corpus: Corpus) -> None:
    """`init_from` stands beside the texts, at the beginning and after every snapshot."""
    for _ in record(make_trainer(corpus, SMALL.replace(steps=2)), tmp_path, ["a.txt"], init_from="/x/model"):
        values, texts = read_toml(tmp_path / CONFIG)
        assert (values["init_from"], texts) == ("/x/model", ["a.txt"])


def test_a_damaged_snapshot_is_refused(tmp_path: Path, corpus: Corpus) -> None:
    """A snapshot that was cut, and a model in its place, are each refused in one sentence."""
    finish(tmp_path, corpus)
    whole = (tmp_path / TRAINING).read_bytes()
    (tmp_path / TRAINING).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="damaged"):
        Run.open(tmp_path)
    (tmp_path / TRAINING).write_bytes((tmp_path / MODEL).read_bytes())
    with pytest.raises(ModelFileError, match="does not hold a training"):
        Run.open(tmp_path)


def test_a_run_without_a_log_draws_nothing(tmp_path: Path) -> None:
    """There is no curve of nothing."""
    draw_curve([], tmp_path / CURVE)
    assert not (tmp_path / CURVE).exists()


def test_tensorboard_hears_of_it_too(tmp_path: Path, corpus: Corpus) -> None:
    """With the extra installed, events for TensorBoard are written beside the rest."""
    pytest.importorskip("tensorboard", reason="the track extra is not installed")
    for _ in record(make_trainer(corpus, SMALL), tmp_path, tensorboard=True):
        pass
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_without_the_extra_tensorboard_names_the_install_line(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing extra is an error that says what to install, and costs nothing of what is in the folder."""
    (tmp_path / MODEL).write_bytes(b"old")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nextchar\[track\]'"):
        next(record(make_trainer(corpus, SMALL), tmp_path, tensorboard=True))
    assert (tmp_path / MODEL).read_bytes() == b"old"
