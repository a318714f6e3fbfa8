"""Training from Python: `train` and `Run`, what they return, what they show and what they refuse."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import nextchar
from nextchar.errors import ConfigError, TextError
from nextchar.storage import CONFIG, MODEL, TRAINING, read_arrays, read_model
from nextchar.text.corpus import Corpus
from nextchar.training.events import Event, Sampled
from nextchar.training.folder import locked
from nextchar.training.record import LOG, record
from nextchar.training.run import Run, train
from nextchar.training.trainer import Trainer
from nextchar.training.view import TrainingView

SMALL = {"hidden": 12, "embedding": 8, "batch_size": 4, "seq_length": 16, "eval_every": 5}


def test_a_text_is_trained_in_one_call(text_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A path and options give a language model; progress goes to standard error, and is silent on request."""
    lm = nextchar.train(text_file, steps=5, progress=False, **SMALL)
    assert lm.provenance["step"] == 5
    assert capfd.readouterr() == ("", "")
    nextchar.train([text_file, str(text_file)], nextchar.Config(steps=9), steps=5, **SMALL)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "validation" in shown.err
    assert "sample at step 5" in shown.err
    assert "Next, with the model that is returned" in shown.err


def test_a_run_is_resumed_and_continued_in_one_call(tmp_path: Path, text_file: Path) -> None:
    """An interrupted run comes to the weights of one that was not; a finished one needs a budget, and takes one."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(text_file, steps=12, out=whole, progress=False, **SMALL)
    run = Run(part, nextchar.Config(steps=12, **SMALL), (str(text_file),))
    trainer = run.trainer(run.corpus())
    for event in record(trainer, part, run.texts):
        if isinstance(event, Sampled):
            trainer.stop()
    assert not Run.open(part).finished
    assert Run.open(part).resume(progress=False).provenance["step"] == 12
    for name in (MODEL, TRAINING):
        one, two = (read_arrays(folder / name)[0] for folder in (whole, part))
        assert all(np.array_equal(one[key], two[key]) for key in one)
    done = Run.open(str(part))
    assert done.finished
    with pytest.raises(ConfigError, match=r"^this run is finished \(12 steps\); give minutes, epochs or steps"):
        done.resume(progress=False)
    with pytest.raises(ConfigError, match="a resumed run keeps its options, but hidden was given"):
        done.resume(hidden=3)
    assert done.resume(steps=2, progress=False).provenance["steps"] == 14
    with pytest.raises(TextError, match="not the one this run was trained on"):
        done.resume(Corpus.from_text("another"), steps=2, progress=False)


def test_an_open_corpus_has_no_name_to_resume_with(tmp_path: Path, corpus: Corpus) -> None:
    """A run of a corpus in memory is continued with that corpus; without it, the text is asked for."""
    train(corpus, steps=5, out=tmp_path / "r", progress=False, **SMALL)
    with pytest.raises(TextError, match="no longer in the cache"):
        Run.open(tmp_path / "r").resume(steps=2, progress=False)
    assert Run.open(tmp_path / "r").resume(corpus, steps=2, progress=False).provenance["steps"] == 7


def test_what_cannot_be_is_refused(tmp_path: Path, text_file: Path, corpus: Corpus) -> None:
    """Unknown options, a folder with a run and a folder in use are refused in one sentence; an old run can be replaced."""
    with pytest.raises(ConfigError, match="unknown option 'hiden'; did you mean 'hidden'"):
        train(corpus, hiden=3)
    out = tmp_path / "r"
    train(text_file, steps=5, out=out, progress=False, **SMALL)
    with pytest.raises(ConfigError, match=f"{out} already holds a run; continue it"):
        train(corpus, steps=5, out=out)
    with locked(out), pytest.raises(ConfigError, match="is training into"):
        Run.open(out).resume(steps=2)
    train(text_file, steps=6, out=out, overwrite=True, progress=False, **SMALL)
    assert read_model(out).provenance["steps"] == 6
    assert {path.name for path in out.iterdir()} >= {CONFIG, MODEL, TRAINING, LOG}


class _Closed:
    """A terminal that was closed."""

    encoding = "utf-8"

    def write(self, _: str) -> int:
        """Fail, as the system does."""
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        """Fail, too."""
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        """Return True: it was one."""
        return True


def test_a_closed_terminal_does_not_end_a_training(corpus: Corpus) -> None:
    """Events go on when nothing can be shown any more."""
    from nextchar.training.start import make_trainer

    trainer = make_trainer(corpus, nextchar.Config(steps=5, **SMALL))
    view = TrainingView(Console(file=_Closed(), force_terminal=True))  # type: ignore[arg-type]
    seen: list[Event] = list(view.follow(trainer.events()))
    assert seen[-1].step == 5
    assert len(view._console._buffer) < 100


@pytest.mark.slow
def test_a_training_does_not_import_what_is_slow() -> None:
    """The default optimizer does without torch's compiler, whose import takes a second, and with it sympy."""
    code = """
import sys
from nextchar.text.corpus import Corpus
from nextchar.training.run import train
train(Corpus.from_text("to be or not " * 200), steps=2, hidden=16, batch_size=4, seq_length=16, progress=False)
assert not {"torch._dynamo", "sympy", "matplotlib"} & set(sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("prompt", [True, False], ids=["at a prompt", "in a script"])
def test_ctrl_c_at_a_prompt_keeps_the_model(
    prompt: bool, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """There, as in a notebook, the training ends after its step and returns the best model; a script ends, as always."""
    advance, before = Trainer._advance, signal.getsignal(signal.SIGINT)

    def interrupted(trainer: Trainer) -> None:
        advance(trainer)
        if trainer.step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_advance", interrupted)
    monkeypatch.delattr(sys, "ps1", raising=False)
    if prompt:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
        assert train(corpus, steps=50, **SMALL).provenance["step"] == 3
        assert "stopped at step 3 of 50: the best model so far is returned" in capfd.readouterr().err
    else:
        with pytest.raises(KeyboardInterrupt):
            train(corpus, steps=50, progress=False, **SMALL)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_is_shown_with_its_curve_and_its_samples(tmp_path: Path, text_file: Path) -> None:
    """In a notebook as a card; its timeline is a page."""
    train(text_file, out=tmp_path / "run", steps=30, progress=False, **SMALL)
    run = Run.open(tmp_path / "run")
    shown = run._repr_html_()
    assert "<polyline" in shown
    assert "step 30 of 30" in shown
    assert "small.txt" in shown
    assert repr(run.timeline()).startswith("<Page of ")
    assert '"step":30' in run.timeline().replace(" ", "")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.toml").write_text("texts = ['book.txt']", encoding="utf-8")
    assert "book.txt" in Run.open(tmp_path / "new")._repr_html_()
