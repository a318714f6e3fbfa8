"""`nextchar train`: texts in, a run folder out."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import create_model
from rich.console import Console

from nextchar.cli.console import ReadingProgress, duration, print_json, stderr
from nextchar.cli.flags import INTERRUPTED, Flag
from nextchar.config import BUDGETS, Config, compose, make_config, read_toml, to_toml
from nextchar.errors import ConfigError
from nextchar.storage import CONFIG, MODEL, TRAINING, holds_run, read_model, write_text

GROUPS = {
    name: Group(name, sort_key=place)
    for place, name in enumerate(("Budget", "Model", "Training", "Text", "Machine"), 1)
}


def _flags() -> type[Config]:
    """Give every option of Config its place in the help; name, type, default, bounds and help are Config's own."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        extra = info.json_schema_extra
        group = GROUPS[str(extra["group"])] if isinstance(extra, dict) else None
        fields[name] = (
            Annotated[
                Config.__annotations__[name],
                Parameter(group=group, show_default=not (info.default is False or info.default == ())),
            ],
            info,
        )
    return create_model("Flags", __base__=Config, **fields)


Flags: Any = Parameter(name="*")(_flags())


def command(
    *texts: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    preset: str | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    init_from: Path | None = None,
    overwrite: Flag = False,
    tensorboard: Flag = False,
    keep_checkpoints: Flag = False,
    json: Flag = False,
    options: Flags = None,
) -> int:
    """Learn from texts, and keep the best model.

    A text is a file (also .gz, .bz2, .xz), a folder (read recursively), a
    glob, - for standard input, or a name of `nextchar corpora`. Several are
    read one after the other. What is left open is chosen from the budget, the
    speed of this machine and the length of the text.

        nextchar train book.txt
        nextchar train src/ --suffix .py --minutes 15 -o runs/code
        nextchar train --resume runs/code --minutes 15

    Parameters
    ----------
    texts
        What to learn from.
    output
        The run folder. Default: runs/ and the name of the text.
    preset
        A recipe by name: karpathy2015 is that of the 2015 post.
    config
        Options from a TOML file, as a run folder's config.toml; flags win.
    resume
        Go on with a run: to the bit where it was interrupted, or with a new budget from its end.
    init_from
        Start from a model: its shape and weights are kept, and characters new to it get new rows.
    overwrite
        Start anew in a folder that already holds a run.
    tensorboard
        Also write events for TensorBoard (needs nextchar[track]).
    keep_checkpoints
        Also keep the model after 10, 20, 50, 100 ... steps, for `nextchar discover --births`.
    json
        Print one JSON object on standard output.
    """
    explicit = {} if options is None else options.model_dump(include=options.model_fields_set)
    job = Job(stderr(), Path(), list(texts), json, tensorboard, keep_checkpoints, time.monotonic())
    if resume:
        return _resume(replace(job, folder=resume), explicit)
    chosen, named = compose(explicit, preset=preset, file=config)
    job = replace(job, texts=job.texts or named)
    job = replace(job, folder=output or _default_folder(job.texts))
    if holds_run(job.folder) and not overwrite:
        raise ConfigError(
            f"{job.folder} already holds a run; go on with --resume {job.folder}, name another folder with -o, "
            f"or give --overwrite"
        )
    return _begin(job, chosen, init_from)


@dataclass(frozen=True, slots=True)
class Job:
    """What a training needs beside its options."""

    console: Console
    folder: Path
    texts: list[str]
    json: bool
    tensorboard: bool
    keep_checkpoints: bool
    begun: float


def _begin(job: Job, config: Config, init_from: Path | None = None) -> int:
    """Start a run."""
    base = read_model(init_from) if init_from else None
    if base:
        config = config.replace(units=base.vocabulary.units)
    corpus, reading = _open(job, config)
    # From here on the run can be resumed, even if it is killed before its first step.
    for name in (TRAINING, MODEL):
        (job.folder / name).unlink(missing_ok=True)
    job = replace(job, texts=[_absolute(text) for text in job.texts])
    write_text(job.folder / CONFIG, to_toml(config, job.texts))

    from nextchar.cli.compiling import tell_of_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.training.trainer import Trainer  # noqa: PLC0415  torch takes long to import

    tell_of_compiling()
    return _follow(job, Trainer(corpus, config, init_from=base, spent=_since(job) - reading))


def _resume(job: Job, explicit: dict[str, Any]) -> int:
    """Go on with a run: as it was planned, or with a new budget."""
    from nextchar.training.run import open_snapshot  # noqa: PLC0415  torch takes long to import
    from nextchar.training.trainer import Trainer  # noqa: PLC0415  as above

    budget = {name: explicit.pop(name) for name in BUDGETS if explicit.get(name) is not None}
    if explicit:
        names = ", ".join("--" + name.replace("_", "-") for name in explicit)
        raise ConfigError(
            f"a resumed run keeps its options, but {names} was given; --init-from starts a new run from its model"
        )
    snapshot = open_snapshot(job.folder)
    values, named = read_toml(job.folder / CONFIG)
    job = replace(job, texts=job.texts or named)
    if snapshot is None:
        return _begin(job, make_config({**values, **budget}, str(job.folder / CONFIG)))
    if not budget and not snapshot.unfinished:
        job.console.print(
            f"this run is finished ({snapshot.steps:,} steps); give --minutes, --epochs or --steps to go on from there"
        )
        if job.json:
            print_json(_summary(job.folder, snapshot.steps, 0.0, 0.0))
        return 0
    open_again = {**dict.fromkeys(BUDGETS), "validate_every": None, **budget}
    config = snapshot.config.replace(**open_again) if budget else None
    corpus, reading = _open(job, snapshot.config, snapshot.corpus)
    return _follow(job, Trainer(corpus, config, snapshot=snapshot, spent=_since(job) - reading))


def _since(job: Job) -> float:
    return time.monotonic() - job.begun


def _follow(job: Job, trainer: Any) -> int:
    """Run a training with the run folder listening, and show it."""
    from nextchar.cli.view import TrainingView  # noqa: PLC0415  torch takes long to import
    from nextchar.training.events import Finished  # noqa: PLC0415  torch takes long to import
    from nextchar.training.run import record  # noqa: PLC0415  as above

    done: Finished | None = None
    with TrainingView(job.console) as view, _interruptible(trainer):
        keep = {"tensorboard": job.tensorboard, "keep_checkpoints": job.keep_checkpoints}
        for event in record(trainer, job.folder, job.texts, **keep):
            view.show(event)
            done = event if isinstance(event, Finished) else done
    if done:
        _farewell(job, done)
    else:
        job.console.print(
            f"interrupted at step {trainer.step:,} of {trainer.steps:,}; all is saved. Go on with:\n"
            f"  nextchar train --resume {job.folder}"
        )
    if job.json:
        print_json(_summary(job.folder, trainer.step, _since(job), done.chars_per_second if done else 0.0))
    return 0 if done else INTERRUPTED


def _open(job: Job, options: Config, key: str = "") -> tuple[Any, float]:
    """Open the corpus; return it, and the seconds its reading took.

    Args:
        job: Names the texts.
        options: Say how to read them.
        key: Of a text that was encoded before, and whose files may be gone (standard input).
    """
    from nextchar.text.corpus import cached_corpus, open_corpus  # noqa: PLC0415  help must not pay for numpy

    begun = time.monotonic()
    if key and job.texts in (["-"], ["/dev/stdin"]) and (corpus := cached_corpus(key)):
        return corpus, 0.0
    progress = ReadingProgress(job.console)
    try:
        corpus = open_corpus(
            job.texts,
            units=options.units,
            encoding=options.encoding,
            suffixes=options.suffix,
            progress=progress,
        )
    finally:
        progress.close()
    if corpus.skipped:
        job.console.print(
            f"left out {corpus.skipped:,} files that look binary (--units bytes would read them)"
        )
    return corpus, time.monotonic() - begun


def _absolute(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() and source not in ("-", "/dev/stdin") else source


def _default_folder(sources: list[str]) -> Path:
    """Return runs/NAME, or runs/NAME-2 and so on if that is taken."""
    first = Path(sources[0]).name if sources else "run"
    stem = re.sub(r"[^\w-]+", "-", first.split(".")[0] or first).strip("-") or "run"
    folder, number = Path("runs") / stem, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{stem}-{number}"
    return folder


@contextmanager
def _interruptible(trainer: Any) -> Iterator[None]:
    """Let Ctrl-C and a polite kill stop the training after the step at hand; a second one ends it at once."""

    def stop(number: int, _frame: object) -> None:
        trainer.stop()
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _farewell(job: Job, done: Any) -> None:
    say, folder = job.console.print, job.folder
    how = {
        "steps": "done",
        "patience": "stopped early, for want of a new best,",
        "time": "the time was up",
        "text": "ended early, before so short a text is known by heart,",
    }[done.reason]
    say(f"{how} after {done.step:,} steps, {done.epochs:.2f} epochs, {duration(done.seconds)}")
    if score := done.score:
        say(
            f"best model: {score.bits_per_char:.3f} bits/char ({score.nats_per_char:.4f} nats) on {score.chars:,} "
            f"validation characters, stream"
        )
    say(f"kept in {folder}: {MODEL}, samples.txt, curve.svg, log.jsonl, {CONFIG}. Go on with:")
    say(f"  nextchar sample {folder} -n 1000")
    if score:
        say(f"  nextchar evaluate {folder} --split valid")
    say(f"  nextchar train --resume {folder} --minutes 5")


def _summary(folder: Path, steps: int, seconds: float, rate: float) -> dict[str, Any]:
    """Return the JSON of the contract."""
    model = read_model(folder)
    best = model.provenance
    return {
        "run": str(folder),
        "model": str(folder / MODEL),
        "steps": steps,
        "epochs": round(best["epochs"] * steps / best["step"], 4) if best["step"] else 0.0,
        "seconds": round(seconds, 3),
        "chars_per_second": round(rate, 1),
        "parameters": model.architecture.parameters(len(model.vocabulary)),
        "valid": best["valid"],
    }
