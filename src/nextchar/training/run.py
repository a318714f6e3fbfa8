"""Runs: train on texts, and open, resume or continue a run folder, in one call each."""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from nextchar.config import BUDGETS, Config, read_toml, to_toml
from nextchar.errors import ConfigError, ModelFileError, TextError, check_is
from nextchar.inspection.timeline import timeline_page
from nextchar.keywords import TrainKeywords
from nextchar.language_model import TEXTS, LanguageModel
from nextchar.notebook import card, coloured, curve
from nextchar.pages.page import Page
from nextchar.storage import (
    CONFIG,
    LOG,
    MODEL,
    TRAINING,
    holds_run,
    model_path,
    read_log,
    read_model,
    to_language_model,
    write_text,
)
from nextchar.text.corpus import Corpus, cached_corpus, open_corpus
from nextchar.text.paths import Text, as_list, expand
from nextchar.text.sources import Progress, no_progress
from nextchar.training.events import Event, Stopped, Validated
from nextchar.training.events import Progress as Trained
from nextchar.training.folder import absolute, is_pipe, locked, refuse_run
from nextchar.training.ranks import ALONE, Ranks
from nextchar.training.record import record, with_samples
from nextchar.training.resume import Snapshot, read_snapshot
from nextchar.training.start import make_trainer
from nextchar.training.trainer import Trainer
from nextchar.training.view import TrainingView

Texts = Text | Sequence[Text] | Corpus
STOP = "Ctrl-C or the stop button ends it and keeps the best model"


def train(
    text: Texts,
    config: Config | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **options: Unpack[TrainKeywords],
) -> LanguageModel:
    """Train on texts, and return the best model on the validation part.

    Args:
        text: A file, folder, glob or named corpus, several of them, or a corpus that is open.
        config: Options.
        out: A run folder to write, from which the run can be resumed; None writes nothing.
        overwrite: Whether `out` may hold an older run, which is removed.
        progress: Show a live view in a terminal or notebook, and lines elsewhere; False is silent.
        options: More options, by the names of `Config`.

    Raises:
        ConfigError: An option is unknown or invalid, or `out` holds a run.
        TextError: A text cannot be read, or is too short.

    Example:
        >>> lm = train(Corpus.from_text("to be or not to be " * 500), steps=20, hidden=16, progress=False)
    """
    check_is("config", config or Config(), Config)
    config = (config or Config()).replace(**options)
    named = [str(each["name"]) for each in text.names] if isinstance(text, Corpus) else _names(text)
    texts = ", ".join(Path(name).name for name in named[:TEXTS])
    view = TrainingView(name=str(out or f"training on {texts or 'a text'}"), hint=STOP * _typed()) if progress else None
    say = view.say if view else lambda _: None
    if out is None:
        return _follow(make_trainer(_open(text, config), config, say=say), view)
    with locked(expand(out)):
        if not overwrite:
            refuse_run(expand(out))
        run = Run(expand(out), config, _names(text))
        trainer = run.trainer(_open(text, config), say=say)
        return _follow(trainer, view, record(trainer, run.folder, run.texts))


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder, and what its training needs.

    Attributes:
        folder: The folder.
        config: Its options, as `config.toml` holds them.
        texts: Names of its texts.
        init_from: The model file or run that it starts from, or "".
        snapshot: Where it stopped; None before its first step.

    Example:
        `Run.open("runs/book").resume()` ends an interrupted run, `Run.open("runs/book").resume(minutes=5)` continues a
        finished one.
    """

    folder: Path
    config: Config
    texts: tuple[str, ...] = ()
    init_from: str = ""
    snapshot: Snapshot | None = None

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open a run folder.

        Raises:
            ModelFileError: It is no run folder, or its snapshot is damaged, or missing while its model is there.
        """
        place = expand(folder)
        snapshot = _read_snapshot(place)
        values, texts = read_toml(place / CONFIG)
        init_from = values.pop("init_from", "")
        return cls(place, Config.make(values, str(place / CONFIG)), tuple(texts), init_from, snapshot)

    def __repr__(self) -> str:
        at = self.snapshot
        if at is None:
            return f"<Run {self.folder}, not started>"
        return f"<Run {self.folder}, {at.recipe.architecture}, step {at.step:,} of {at.recipe.steps:,}>"

    def _repr_html_(self) -> str:
        log, at = read_log(self.folder / LOG), self.snapshot
        facts = [("texts", ", ".join(Path(text).name for text in self.texts[:TEXTS]))]
        if at:
            facts += [
                ("network", str(at.recipe.architecture)),
                ("training", f"step {at.step:,} of {at.recipe.steps:,}"),
            ]
        last = next((each["text"] for each in reversed(log) if each["event"] == "sampled"), "")
        return card(f"Run {self.folder}", facts, curve(log), coloured("", last, []))

    def timeline(self) -> Page:
        """Return a page with the samples of the training, from random letters on, beside the curve of the loss."""
        return timeline_page(read_log(self.folder / LOG), self.folder.name)

    @property
    def finished(self) -> bool:
        """Whether its budget is used up, and its best model calibrated and scored, which comes after the last snapshot."""
        at = self.snapshot
        if at is None or at.unfinished:
            return False
        end = at.best.provenance if at.best else {"temperature": 1.0, "steps": at.recipe.steps}
        return "temperature" in end and end.get("steps") == at.recipe.steps

    def corpus(self, texts: Sequence[str] = (), progress: Progress = no_progress) -> Corpus:
        """Open texts, or without any the run's own; what came through a pipe is taken from the cache.

        Raises:
            TextError: A text is missing, or is no longer in the cache.
        """
        if texts or not self.snapshot or (self.texts and not any(map(is_pipe, self.texts))):
            return _open(texts or self.texts, self.config, progress)
        corpus = cached_corpus(self.snapshot.corpus)
        if corpus is None:
            raise TextError(
                "the text came from standard input and is no longer in the cache; pipe it in again, as - beside --resume"
            )
        return corpus

    def trainer(
        self,
        corpus: Corpus,
        *,
        spent: float = 0.0,
        say: Callable[[str], object] = lambda _: None,
        ranks: Ranks = ALONE,
        **budget: Any,
    ) -> Trainer:
        """Return a trainer that starts this run, resumes it, or continues it with a new budget.

        Args:
            corpus: Of its texts.
            spent: Seconds of a budget in minutes that have passed already.
            say: Called with one line for each step that takes long.
            ranks: The processes that train together, of which this one leads.
            budget: `minutes`, `epochs` or `steps`; without one, the run's own.

        Raises:
            ConfigError: The run is finished and there is no new budget, or another option is given.
        """
        how: dict[str, Any] = {"spent": spent, "say": say, "ranks": ranks}
        if others := [name for name in budget if name not in BUDGETS]:
            raise ConfigError(f"a resumed run keeps its options, but {', '.join(others)} was given")
        if self.snapshot:
            if self.finished and not budget:
                raise ConfigError(
                    f"this run is finished ({self.snapshot.step:,} steps); give minutes, epochs or steps to continue it"
                )
            config = self.snapshot.recipe.to_config().replace(eval_every=None, **budget) if budget else None
            return make_trainer(corpus, config, snapshot=self.snapshot, **how)
        base = read_model(self.init_from) if self.init_from else None
        config = self.config.replace(**budget)
        # From here on the run can be resumed, even if it is killed before its first step. An older run in the folder can
        # be resumed until the new one has started.
        if not holds_run(self.folder):
            write_text(self.folder / CONFIG, to_toml(config, self.texts, self.init_from))
        return make_trainer(corpus, config, init_from=base, **how)

    def resume(self, text: Texts | None = None, *, progress: bool = True, **budget: Any) -> LanguageModel:
        """Resume an interrupted run with the same bits, or continue a run with a new budget; return its best model.

        Args:
            text: Its texts, if they are no longer where they were.
            progress: Show a live view in a terminal or notebook, and lines elsewhere; False is silent.
            budget: `minutes`, `epochs` or `steps`.
        """
        with locked(self.folder):
            run = Run.open(self.folder)
            if text is not None:
                run = replace(run, texts=_names(text) or run.texts)
            view = TrainingView(name=str(self.folder), hint=STOP * _typed()) if progress else None
            corpus = text if isinstance(text, Corpus) else run.corpus()
            trainer = run.trainer(corpus, say=view.say if view else lambda _: None, **budget)
            events = record(trainer, run.folder, run.texts, init_from=run.init_from)
            return _follow(trainer, view, events)


def _read_snapshot(folder: Path) -> Snapshot | None:
    """Return where a run stopped, with its best model; None if it made no step."""
    if not (folder / TRAINING).exists():
        if not (folder / CONFIG).exists():
            raise ModelFileError(f"{folder} holds no run to resume: it has neither {TRAINING} nor {CONFIG}")
        if (folder / MODEL).exists() and read_model(folder).provenance.get("step", 0) > 0:
            raise ModelFileError(f"{folder} lacks {TRAINING}; --init-from {folder} starts from its model")
        return None
    snapshot = read_snapshot(folder / TRAINING)
    if snapshot.best_nats == float("inf"):
        return snapshot
    best = read_model(model_path(folder))
    if (best.architecture, best.vocabulary) != (snapshot.recipe.architecture, snapshot.vocabulary):
        raise ModelFileError(
            f"{folder / MODEL} is not a model of the run in {folder / TRAINING}; one of them was replaced"
        )
    return replace(snapshot, best=best)


def _follow(trainer: Trainer, view: TrainingView | None, events: Iterable[Event] | None = None) -> LanguageModel:
    """Train to the end; return the best model."""
    with _stopping(trainer):
        seen = list(view.follow(events or with_samples(trainer)) if view else events or trainer.events())
    if view and isinstance(seen[-1], Stopped):
        view.say(f"stopped at step {trainer.step:,} of {trainer.recipe.steps:,}: the best model so far is returned")
    if view:
        view.say(
            "Next, with the model that is returned: lm.sample(length=500), lm.inspect(text), nextchar.discover(lm, text)"
        )
    log = [event.as_dict() for event in seen if isinstance(event, Trained | Validated)]
    return replace(to_language_model(trainer.best_model()), log=log)


@contextmanager
def _stopping(trainer: Trainer) -> Iterator[None]:
    """Where somebody types, let the first Ctrl-C, or the stop button of a notebook, end a training after its step.

    The second one, and the first in a script, interrupts as always.
    """
    default = signal.default_int_handler
    typed = _typed() and signal.getsignal(signal.SIGINT) is default
    typed = typed and threading.current_thread() is threading.main_thread()

    def stop(*_: object) -> None:
        trainer.stop()
        signal.signal(signal.SIGINT, default)

    if typed:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if typed:
            signal.signal(signal.SIGINT, default)


def _typed() -> bool:
    """Return whether Python is used at a prompt or in a notebook."""
    return hasattr(sys, "ps1")


def _open(text: Texts, config: Config, progress: Progress = no_progress) -> Corpus:
    if isinstance(text, Corpus):
        return text
    return open_corpus(text, units=config.units, encoding=config.encoding, suffixes=config.suffix, progress=progress)


def _names(text: Texts) -> tuple[str, ...]:
    """Return the names by which texts can be opened again; none for a corpus."""
    if isinstance(text, Corpus):
        return ()
    return tuple(map(absolute, as_list(text)))
