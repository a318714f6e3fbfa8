"""`train` when something goes wrong or goes on: what it keeps, and what it says."""

import io
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nextchar.config import read_toml
from nextchar.storage import CHECKPOINTS, CONFIG, MODEL, TRAINING, read_model
from nextchar.training import start
from nextchar.training.folder import absolute, locked
from nextchar.training.run import Run
from nextchar.training.trainer import Trainer

SIZES = ["--hidden", 12, "--embedding", 8, "--batch-size", 4, "--seq-length", 16]
Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def run(tmp_path: Path, text_file: Path, shell: Shell) -> Path:
    """Return the folder of a small finished run, with its checkpoints."""
    folder = tmp_path / "run"
    result = shell("train", text_file, "--steps", 10, *SIZES, "-o", folder, "--keep-checkpoints")
    assert result.code == 0, result.err
    return folder


def refused(result: SimpleNamespace, message: str) -> None:
    """Assert that a command ended with one sentence that holds these words."""
    assert (result.code, result.out) == (1, "")
    assert message in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err


def test_a_run_that_lost_patience_is_said_to_be_finished(
    tmp_path: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--resume` makes no step more without a budget, and with one it goes on."""
    real, nats = Trainer._validate, itertools.count(1)
    monkeypatch.setattr(Trainer, "_validate", lambda self: replace(real(self), nats_per_char=float(next(nats))))
    folder = tmp_path / "r"
    words = ["--steps", 500, "--eval-every", 5, "--patience", 1, *SIZES]
    assert json.loads(shell("train", text_file, *words, "-o", folder, "--json").out)["steps"] == 10
    again = shell("train", "--resume", folder, "--json")
    assert "this run is finished (10 steps); give --minutes" in again.err
    assert json.loads(again.out)["steps"] == 10
    # The next validation is a first one again, and the last, as it finds no new best.
    assert json.loads(shell("train", "--resume", folder, "--steps", 3, "--json").out)["steps"] == 11


def test_an_overwriting_that_cannot_be_leaves_the_old_run(run: Path, text_file: Path, shell: Shell) -> None:
    """Lanes larger than the text are refused before anything of the old run is gone; a good run takes all its place."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    words = ["train", text_file, "--steps", 3, "-o", run, "--overwrite"]
    refused(shell(*words, "--batch-size", 500, "--seq-length", 500), "fewer than one batch of 500")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert shell(*words, *SIZES).code == 0
    assert not (run / CHECKPOINTS).exists()
    assert read_model(run).provenance["step"] == 3


@pytest.mark.slow
def test_a_start_that_was_killed_is_resumed_with_its_budget_or_another(
    tmp_path: Path, text_file: Path, run: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first snapshot a run has its config alone, with its model to start from; a budget takes the old one's place."""
    folder = tmp_path / "tuned"
    with monkeypatch.context() as patch:
        patch.setattr(start, "measure_flops", lambda *_, **__: signal.raise_signal(signal.SIGINT))
        words = ["--minutes", 5, "--init-from", run, "-o", folder]
        assert shell("train", text_file, *words).code == 130
    assert [path.name for path in folder.iterdir()] == [CONFIG]
    assert read_toml(folder / CONFIG)[0]["init_from"] == str(run)
    seen: list[Any] = []
    real = Trainer.__init__

    def init(self: Trainer, *args: object, **options: object) -> None:
        seen.append(options["init_from"])
        real(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "__init__", init)
    result = shell("train", "--resume", folder, "--steps", 2)
    assert result.code == 0, result.err
    assert shell("train", "--config", folder / CONFIG, "-o", tmp_path / "again").code == 0
    assert [file.architecture.hidden for file in seen] == [12, 12]
    one, two = (read_model(tmp_path / name).arrays for name in ("tuned", "again"))
    assert all((one[name] == two[name]).all() for name in one)


def test_a_model_whose_snapshot_is_gone_is_kept(run: Path, shell: Shell) -> None:
    """`--resume` does not begin anew over a model that has learnt."""
    (run / TRAINING).unlink()
    before = (run / MODEL).read_bytes()
    refused(shell("train", "--resume", run, "--steps", 3), f"lacks {TRAINING}; --init-from {run}")
    assert (run / MODEL).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--preset", "karpathy2015"], "--preset"),
        (["--config", "x.toml"], "--config"),
        (["--init-from", "x"], "--init-from"),
        (["-o", "x"], "--output"),
        (["--overwrite", "--hidden", 9], "--hidden, --overwrite"),
    ],
)
def test_what_a_resumed_run_cannot_change_is_refused(run: Path, shell: Shell, words: list[object], names: str) -> None:
    """Nothing that is given beside --resume is ignored."""
    refused(shell("train", "--resume", run, *words), f"keeps its options, but {names} was given")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hidden", 99], "keeps the hidden of its model, 12, but --hidden 99 was given"),
        (["--no-sum-outputs"], "keeps the sum_outputs of its model, True, but --sum-outputs False"),
        (["--units", "bytes"], "keeps the units of its model, characters, but --units bytes"),
    ],
)
def test_another_shape_than_the_models_is_refused(
    run: Path, text_file: Path, tmp_path: Path, shell: Shell, words: list[object], message: str
) -> None:
    """`--init-from` keeps the model's shape and units; what says otherwise is named, and what says the same is not."""
    start = ["train", text_file, "--init-from", run, "--steps", 2, "-o", tmp_path / "r"]
    refused(shell(*start, *words), message)
    assert shell(*start, "--hidden", 12, "--units", "characters").code == 0


def test_a_glob_is_found_from_any_folder(
    tmp_path: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A glob is kept with the folder it was given in, whose own name may look like one."""
    here = tmp_path / "a [b]"
    here.mkdir()
    (here / "x.txt").write_bytes(text_file.read_bytes())
    monkeypatch.chdir(here)
    assert shell("train", "*.txt", "--steps", 2, *SIZES, "-o", tmp_path / "r").code == 0
    monkeypatch.chdir(tmp_path)
    result = shell("train", "--resume", tmp_path / "r", "--steps", 2)
    assert result.code == 0, result.err
    assert [absolute(name) for name in ("stdlib", "-", "/dev/stdin", "/dev/fd/63")] == [
        "stdlib",
        "-",
        "/dev/stdin",
        "/dev/fd/63",
    ]


@pytest.mark.slow
def test_a_piped_text_is_not_waited_for(
    tmp_path: Path, text: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run goes on with the text in the cache, and without it asks for the pipe instead of waiting for a terminal."""
    folder = tmp_path / "r"

    def pipe(content: str) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))

    pipe(text)
    assert shell("train", "-", "--steps", 2, *SIZES, "-o", folder).code == 0
    config = (folder / CONFIG).read_text(encoding="utf-8")
    (folder / CONFIG).write_text(config.replace('"-"', '"/dev/fd/63"'), encoding="utf-8")
    pipe("not this one")
    assert shell("train", "--resume", folder, "--steps", 2).code == 0
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "empty"))
    gone = "the text came from standard input and is no longer in the cache"
    refused(shell("train", "--resume", folder, "--steps", 2), gone)
    pipe(text)
    result = shell("train", "-", "--resume", folder, "--steps", 2)
    assert result.code == 0, result.err


def test_a_second_training_into_one_folder_is_refused(tmp_path: Path, text_file: Path, run: Path, shell: Shell) -> None:
    """While a folder is in use, neither a new run nor a resumed one touches it, even with --overwrite."""
    for folder in (run, tmp_path / "new"):
        with locked(folder):
            before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for words in ((text_file, "-o", folder, "--overwrite"), ("--resume", folder)):
                refused(shell("train", *words, "--steps", 2), f"is training into {folder}; wait for its end")
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_saves_the_run(
    run: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, ignored: bool
) -> None:
    """SIGHUP stops and saves as SIGTERM does; where it is ignored, as under nohup, the training goes on."""
    real = Trainer._advance

    def advance(self: Trainer) -> None:
        real(self)
        if self.step == 11:
            signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(Trainer, "_advance", advance)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        result = shell("train", "--resume", run, "--steps", 5)
    finally:
        assert signal.signal(signal.SIGHUP, before) is (signal.SIG_IGN if ignored else signal.SIG_DFL)
    assert result.code == (0 if ignored else 130)
    assert ("interrupted at step 11 of 15; everything is saved" in result.err) is not ignored
    assert Run.open(run).finished is ignored


def test_a_training_says_something_before_it_imports_torch(tmp_path: Path, text_file: Path) -> None:
    """The first line of a training comes before the slow imports."""
    code = "import sys\nfrom nextchar.cli import train\nassert 'torch' not in sys.modules\n"
    code += "class Said(BaseException): pass\nimport rich.console\n"
    code += "def said(self, line): raise Said(line, 'torch' in sys.modules)\nrich.console.Console.print = said\n"
    code += "try: train.command(sys.argv[1], output=__import__('pathlib').Path(sys.argv[2]))\n"
    code += "except Said as line: sys.exit(line.args != (f'training in {sys.argv[2]}', False))"
    done = subprocess.run([sys.executable, "-c", code, text_file, tmp_path / "r"], check=False)
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_tells_the_speed_and_a_second_one_how_to_go_on(
    run: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """One Ctrl-C saves and reports what was measured; a second one ends at once, with the words to go on."""
    real = Trainer._advance

    def advance(self: Trainer) -> None:
        real(self)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_advance", advance)
    result = shell("train", "--resume", run, "--steps", 100, "--json")
    assert result.code == 130
    assert f"Resume with:\n  nextchar train --resume {run}\n" in result.err
    if times == 1:
        value = json.loads(result.out)
        assert value["steps"] == 11
        assert value["chars_per_second"] > 0
    else:
        assert "interrupted at once" in result.err
        assert result.out == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands are split as a POSIX shell does")
def test_what_comes_next_can_be_run(tmp_path: Path, text: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands at the end name the run and its first text, say how that is read, and work as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "é.py").write_text(text + "é", encoding="latin-1")
    (tmp_path / "a folder" / "other.txt").write_text("€", encoding="utf-8")
    words = ["--suffix", ".py", "--encoding", "latin-1", "--steps", 3, *SIZES, "-o", "a run"]
    result = shell("train", "a folder", *words)
    assert result.code == 0, result.err
    after = [shlex.split(line) for line in result.err.partition("\nNext: ")[2].splitlines()[1:]]
    reading = ["a run", "a folder", "--encoding", "latin-1", "--unknown", "skip"]
    assert after == [
        ["nextchar", "sample", "a run", "-n", "1000"],
        ["nextchar", "inspect", *reading],
        ["nextchar", "discover", *reading],
    ]
    assert shell(*after[0][1:]).code == 0
    done = shell(*after[1][1:], "--chars", 500)
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_piped_text_is_not_named_as_the_next(
    tmp_path: Path, text: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came through a pipe cannot be read again; another text stands in its place."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    result = shell("train", "-", "--steps", 2, *SIZES, "-o", tmp_path / "r")
    assert result.code == 0, result.err
    assert f"nextchar inspect {tmp_path / 'r'} YOUR_TEXT.txt\n" in result.err
