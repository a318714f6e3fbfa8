"""`nextchar train`: texts in, a run folder out."""

import glob
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

from nextchar.cli.console import ReadingProgress, duration, print_json, shell_command, stderr
from nextchar.cli.flags import INTERRUPTED, Flag
from nextchar.config import BUDGETS, Config, compose, read_toml, to_toml
from nextchar.errors import ConfigError, TextError
from nextchar.storage import CONFIG, MODEL, holds_run, read_model, write_text
from nextchar.text.catalogue import CATALOGUE
from nextchar.text.paths import STDIN, expand

GROUPS = {
    name: Group(name, sort_key=place)
    for place, name in enumerate(("Budget", "Model", "Training", "Text", "Machine"), 1)
}


def _flags() -> type[Config]:
    """Return Config with, for every option, its place in the help, its alias, and a hidden flag for its old name."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        extra: Any = info.json_schema_extra
        kind, group = Config.__annotations__[name], GROUPS[extra["group"]]
        fields[name] = (Annotated[kind, Parameter(group=group, alias=extra["alias"] or None)], info)
        if extra["old"]:
            fields[extra["old"]] = (Annotated[kind, Parameter(group=group, show=False)], info.default)
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
    read one after the other. Unset options are chosen automatically, from the
    budget, the speed of this machine and the length of the text.

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
        Also keep the model after 10, 20, 30, 50, 70, 100 ... steps, for `nextchar discover --emergence`.
    json
        Print one JSON object on standard output.
    """
    explicit = {} if options is None else options.model_dump(include=options.model_fields_set)
    job = Job(stderr(), Path(), list(texts), json, tensorboard, keep_checkpoints, time.monotonic())
    if resume:
        names = ("output", "preset", "config", "init_from", "overwrite")
        beside = zip(names, (output, preset, config, init_from, overwrite), strict=True)
        explicit |= {name: value for name, value in beside if value}
        return _resume(replace(job, folder=resume), explicit)
    chosen, named = compose(explicit, preset=preset, file=config)
    base = init_from or (read_toml(config)[0].get("init_from") if config else None)
    job = replace(job, texts=job.texts or named, init_from=str(base or ""))
    job = replace(job, folder=output or _default_folder(job.texts))
    if holds_run(job.folder) and not overwrite:
        raise ConfigError(
            f"{job.folder} already holds a run; go on with {shell_command('--resume', job.folder)}, name another folder with -o, "
            f"or give --overwrite"
        )
    return _begin(job, chosen, explicit)


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
    init_from: str = ""


def _begin(job: Job, config: Config, explicit: dict[str, Any]) -> int:
    """Start a run."""
    base = read_model(job.init_from) if job.init_from else None
    if base:
        for name, value in {**base.architecture.as_dict(), "units": base.vocabulary.units}.items():
            if explicit.get(name, value) != value:
                flag = f"--{name.replace('_', '-')} {explicit[name]}"
                raise ConfigError(
                    f"--init-from keeps the {name} of its model, {value}, but {flag} was given; leave that out"
                )
        config = config.replace(units=base.vocabulary.units)
    corpus, reading = _open(job, config)
    job = replace(job, texts=[_absolute(text) for text in job.texts], init_from=_absolute(job.init_from))
    # From here on the run can be resumed, even if it is killed before its first step. One that is to be overwritten
    # can be until the new one is known to be possible.
    if not holds_run(job.folder):
        write_text(job.folder / CONFIG, to_toml(config, job.texts, job.init_from))

    from nextchar.cli.compiling import tell_of_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.training.trainer import Trainer  # noqa: PLC0415  torch takes long to import

    tell_of_compiling()
    return _follow(job, Trainer(corpus, config, init_from=base, spent=_since(job) - reading))


def _resume(job: Job, explicit: dict[str, Any]) -> int:
    """Go on with a run: as it was planned, or with a new budget."""
    from nextchar.text.corpus import cached_corpus  # noqa: PLC0415  help must not pay for numpy
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
    once = not job.texts and any(map(_is_pipe, named))
    job = replace(job, texts=list(map(_absolute, job.texts)) or named, init_from=values.get("init_from", ""))
    if snapshot and not budget and not snapshot.unfinished:
        job.console.print(
            f"this run is finished ({snapshot.step:,} steps); give --minutes, --epochs or --steps to go on from there"
        )
        if job.json:
            print_json(_summary(job.folder, snapshot.step, 0.0, 0.0))
        return 0
    kept = cached_corpus(snapshot.corpus) if once and snapshot else None
    if once and kept is None:
        raise TextError(
            "the text came from standard input and is no longer in the cache; pipe it in again, as - beside --resume"
        )
    if snapshot is None:
        return _begin(job, compose(budget, file=job.folder / CONFIG)[0], {})
    open_again = {**dict.fromkeys(BUDGETS), "eval_every": None, **budget}
    config = snapshot.config.replace(**open_again) if budget else None
    corpus, reading = (kept, 0.0) if kept else _open(job, snapshot.config)
    return _follow(job, Trainer(corpus, config, snapshot=snapshot, spent=_since(job) - reading))


def _since(job: Job) -> float:
    return time.monotonic() - job.begun


def _follow(job: Job, trainer: Any) -> int:
    """Run a training with the run folder listening, and show it."""
    from nextchar.cli.view import TrainingView  # noqa: PLC0415  torch takes long to import
    from nextchar.training.events import Finished  # noqa: PLC0415  torch takes long to import
    from nextchar.training.run import record  # noqa: PLC0415  as above

    done: Finished | None = None
    again = f"Go on with:\n  {shell_command('nextchar', 'train', '--resume', job.folder)}"
    keep = {"tensorboard": job.tensorboard, "keep_checkpoints": job.keep_checkpoints}
    try:
        with TrainingView(job.console) as view, _interruptible(trainer):
            for event in record(trainer, job.folder, job.texts, init_from=job.init_from, **keep):
                view.show(event)
                done = event if isinstance(event, Finished) else done
    except KeyboardInterrupt:
        job.console.print(f"interrupted at once; what the last snapshot holds is saved. {again}")
        return INTERRUPTED
    if done:
        _farewell(job, done)
    else:
        job.console.print(f"interrupted at step {trainer.step:,} of {trainer.steps:,}; all is saved. {again}")
    if job.json:
        print_json(_summary(job.folder, trainer.step, _since(job), trainer.chars_per_second))
    return 0 if done else INTERRUPTED


def _open(job: Job, options: Config) -> tuple[Any, float]:
    """Open the corpus; return it, and the seconds its reading took."""
    from nextchar.text.corpus import open_corpus  # noqa: PLC0415  help must not pay for numpy

    begun = time.monotonic()
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


def _is_pipe(source: str) -> bool:
    """Tell whether a text can be read only once."""
    system = source.startswith(("/dev/", "/proc/")) and not Path(source).is_file()
    return system or source in STDIN


def _absolute(source: str) -> str:
    """Return where a file, folder or glob lies, for use in any other folder; what is none of these stays as it is."""
    path = expand(source)
    if not source or _is_pipe(source) or (source in CATALOGUE and not path.exists()):
        return source
    # The folder at hand may have a name that looks like a glob.
    return str(path.resolve() if path.exists() else Path(glob.escape(str(Path.cwd())), path))


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
        calibrated = f"; calibrated, temperature {done.temperature:.2f}" if done.temperature != 1 else ""
        say(
            f"best model: {score.bits_per_char:.3f} bits/char ({score.nats_per_char:.4f} nats) on {score.chars:,} "
            f"validation characters, stream{calibrated}"
        )
    say(f"kept in {folder}: {MODEL}, samples.txt, curve.svg, log.jsonl, {CONFIG}. Go on with:")
    words = [("sample", folder, "-n", 1000), ("train", "--resume", folder, "--minutes", 5)]
    if score:
        words.insert(1, ("evaluate", folder, "--split", "valid"))
    for each in words:
        say(f"  {shell_command('nextchar', *each)}")


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
