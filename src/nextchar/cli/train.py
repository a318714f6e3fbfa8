"""`nextchar train`: texts in, a run folder out."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from pydantic import create_model
from rich.console import Console

from nextchar.cli.console import ReadingProgress, handle_signals, print_json, shell_command, stderr, transient
from nextchar.cli.flags import INTERRUPTED, OUTPUT, Flag, spelled
from nextchar.config import BUDGETS, Config, compose, read_toml
from nextchar.errors import ConfigError, as_integer
from nextchar.storage import CONFIG, MEMBER, MODEL, ModelFile, member_folders, read_model
from nextchar.text.hub import is_hub
from nextchar.training import launch
from nextchar.training.folder import absolute, default_folder, is_pipe, is_same, locked, refuse_run

if TYPE_CHECKING:
    from nextchar.text.corpus import Corpus
    from nextchar.training.ranks import Ranks
    from nextchar.training.run import Run

LOADING = "loading PyTorch ..."
GROUPS = {
    name: Group(name, sort_key=place)
    for place, name in enumerate(("Budget", "Model", "Training", "Text", "Machine"), 1)
}
# What --help shows beside the parameters of `command`; --help-all shows the others, too.
MAIN = {*BUDGETS, "layers", "hidden", "dropout", "batch_size", "seq_length", "learning_rate", "suffix"}


def _flags() -> type[Config]:
    """Return Config with, for every option, its place in the help, and its other names."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        extra: Any = info.json_schema_extra
        names = spelled(extra["alias"]) + [f"--{old.replace('_', '-')}" for old in filter(None, [extra["old"]])]
        group: Any = {} if name in MAIN else {"group": GROUPS[extra["group"]]}
        fields[name] = (Annotated[Config.__annotations__[name], Parameter(alias=names, **group)], info)
    return create_model("Flags", __base__=Config, **fields)


Flags: Any = Parameter(name="*")(_flags())


def command(
    *texts: str,
    output: Annotated[Path | None, OUTPUT] = None,
    preset: str | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    init_from: Path | None = None,
    overwrite: Flag = False,
    tensorboard: Flag = False,
    keep_checkpoints: Flag = False,
    members: int = 1,
    json: Flag = False,
    options: Flags = None,
    hints: Annotated[bool, Parameter(parse=False)] = True,
) -> int:
    """Train on texts, and keep the best model.

    A text is a file (also .gz, .bz2, .xz), a folder (read recursively), a
    glob, - for standard input, a name of `nextchar corpora`, or a data set,
    hf://datasets/USER/NAME. Several are read one after the other. Unset options are chosen automatically, from the
    budget, the speed of this machine and the length of the text.

        nextchar train book.txt
        nextchar train src/ --suffix .py --minutes 15 -o runs/code
        nextchar train --resume runs/code --minutes 15

    Parameters
    ----------
    texts
        What to train on.
    output
        The run folder. Default: runs/NAME, after the text.
    preset
        Options by name: karpathy2015, of the blog post.
    config
        Options from a TOML file, as a run folder's config.toml; flags win.
    resume
        Resume a run; a finished one needs a new budget.
    init_from
        Start from a model's weights and shape; new characters get new rows.
    overwrite
        Replace the run that the folder holds.
    tensorboard
        Also write events for TensorBoard (needs nextchar[track]).
    keep_checkpoints
        Also keep the model after 10, 20, 30, 50, 70, 100 ... steps, for `nextchar discover --emergence`.
    members
        Train so many networks, which differ in the seed and share the minutes: an ensemble, used as one model.
    json
        Print one JSON object on standard output.
    """
    explicit = {} if options is None else options.model_dump(include=options.model_fields_set)
    flags = {"tensorboard": tensorboard, "keep_checkpoints": keep_checkpoints}
    as_integer("members", members, "1 or more", 1)
    begun = time.monotonic()
    with launch.joined() as ranks:
        job = Job(stderr(), json, flags, begun, hints, ranks, members)
        if ranks and not ranks.leads:
            return _follow(job, ranks)
        given = {"output": output, "preset": preset, "config": config, "init_from": init_from, "overwrite": overwrite}
        return _start(job, texts, resume, explicit, given)


def _follow(job: "Job", ranks: "Ranks") -> int:
    """Take part in a training as one of the processes that do not lead; they show nothing."""
    from nextchar.cli.members import resume_members  # noqa: PLC0415  torch takes long to import
    from nextchar.training.follow import Follower  # noqa: PLC0415  as above

    quiet = replace(job, console=Console(quiet=True), json=False, hints=False)

    def train_members(order: dict[str, Any]) -> bool:
        return not resume_members(quiet, Path(order["folder"]), order["texts"], order["budget"], _train)

    follower = Follower(ranks, train_members)
    with handle_signals(lambda *_: follower.stop(), "SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        return 0 if follower.follow() else INTERRUPTED


def _start(
    job: "Job", texts: tuple[str, ...], resume: Path | None, explicit: dict[str, Any], given: dict[str, Any]
) -> int:
    """Start a run or resume one.

    Args:
        job: How.
        texts: To train on.
        resume: The run to resume, if one is.
        explicit: Options of `Config` that were given.
        given: The other options.
    """
    output, overwrite, init_from = given["output"], given["overwrite"], given["init_from"]
    if resume:
        several = {"members": job.members} if job.members > 1 else {}
        budget = _budget({**explicit, **{name: value for name, value in given.items() if value}, **several})
        with locked(resume):
            return _resume(job, resume, list(map(absolute, texts)), budget)
    chosen, named = compose(explicit, preset=given["preset"], file=given["config"])
    base = init_from or (read_toml(given["config"])[0].get("init_from") if given["config"] else None)
    opened = texts or tuple(named)
    if launch.may_restart() and not output:
        raise ConfigError("torchrun --max-restarts goes on in the same run folder; name it with -o")
    folder = output or default_folder(opened)
    if launch.attempt() and is_same(folder / f"{MEMBER}1" if job.members > 1 else folder, chosen, opened):
        with locked(folder):
            return _resume(job, folder, list(map(absolute, texts)), {})
    if not overwrite:
        refuse_run(folder)
    origin = ""
    if base:
        model = read_model(base)
        chosen = _like_model(chosen, explicit, model)
        origin = model.provenance["hub"] if is_hub(base) else absolute(str(base))
    with locked(folder):
        job.console.print(f"training in {folder}")
        transient(LOADING)

        from nextchar.training.run import Run  # noqa: PLC0415  torch takes long to import

        run = Run(folder, chosen, tuple(map(absolute, opened)), origin)
        if job.members > 1:
            from nextchar.cli.members import train_members  # noqa: PLC0415  only ensembles need it

            return train_members(job, run, list(opened), _train)
        return _train(job, run, list(opened), {})


@dataclass(frozen=True, slots=True)
class Job:
    """What a training on the command line needs beside its run.

    Attributes:
        console: For messages.
        json: Whether to print the summary.
        record: Flags that go on to `record`.
        begun: When the command started.
        hints: Whether to say at the end what can be done next.
        ranks: The processes of torchrun that train together, of which this one leads; None if it is alone.
        members: How many networks to train.
        resumes: The folder to resume, if it is not that of the run but of its ensemble.
    """

    console: Console
    json: bool
    record: dict[str, bool]
    begun: float
    hints: bool
    ranks: "Ranks | None" = None
    members: int = 1
    resumes: Path | None = None


def _budget(given: dict[str, Any]) -> dict[str, Any]:
    """Return the budget among the options given beside --resume; refuse all others."""
    others = [name for name in given if name not in BUDGETS]
    if others:
        names = ", ".join("--" + name.replace("_", "-") for name in others)
        raise ConfigError(
            f"a resumed run keeps its options, but {names} was given; --init-from starts a new run from its model"
        )
    return {name: value for name, value in given.items() if value is not None}


def _like_model(config: Config, explicit: dict[str, Any], model: ModelFile) -> Config:
    """Return the config with the units of the model to start from; refuse options that contradict that model."""
    for name, value in {**model.architecture.as_dict(), "units": model.vocabulary.units}.items():
        if explicit.get(name, value) != value:
            flag = f"--{name.replace('_', '-')} {explicit[name]}"
            raise ConfigError(
                f"--init-from keeps the {name} of its model, {value}, but {flag} was given; leave that out"
            )
    return config.replace(units=model.vocabulary.units)


def _resume(job: Job, folder: Path, texts: list[str], budget: dict[str, Any]) -> int:
    """Resume a run, or continue it with a new budget."""
    job.console.print(f"resuming {folder}")
    transient(LOADING)

    if member_folders(folder):
        from nextchar.cli.members import resume_members  # noqa: PLC0415  torch takes long to import

        return resume_members(job, folder, texts, budget, _train)

    from nextchar.training.run import Run  # noqa: PLC0415  as above

    run = Run.open(folder)
    if launch.attempt() and not run.finished:
        budget = {}  # it has begun already
    if run.finished and run.snapshot and not budget:
        job.console.print(
            f"this run is finished ({run.snapshot.step:,} steps); give --minutes, --epochs or --steps to continue it"
        )
        if job.json:
            print_json(_summary(folder, run.snapshot.step, 0.0, 0.0))
        return 0
    return _train(job, replace(run, texts=tuple(texts) or run.texts), texts, budget)


def _train(job: Job, run: "Run", texts: list[str], budget: dict[str, Any]) -> int:
    """Train, and show it.

    Args:
        job: How.
        run: To start or resume.
        texts: To open, if they were given; else the run's own.
        budget: A new one, or none.
    """
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.training.events import Finished  # noqa: PLC0415  torch takes long to import
    from nextchar.training.record import record  # noqa: PLC0415  as above
    from nextchar.training.view import TrainingView  # noqa: PLC0415  as above

    corpus, reading = _open(job, run, texts)
    view = TrainingView(job.console, name=str(run.folder), hint="Ctrl-C saves and stops")
    report_compiling(job.console)
    spent = time.monotonic() - job.begun - reading
    together = {"ranks": job.ranks} if job.ranks else {}
    trainer = run.trainer(corpus, spent=spent, say=view.say, **together, **budget)
    done: Finished | None = None

    def stop(number: int, _frame: object) -> None:
        """Stop after the current step; the second signal ends the training at once."""
        trainer.stop()
        view.state.hint = "stopping after this step, then saving ..."
        signal.signal(number, signal.default_int_handler)

    again = f"Resume with:\n  {shell_command('nextchar', 'train', '--resume', job.resumes or run.folder)}"
    try:
        with handle_signals(stop, "SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            events = record(trainer, run.folder, run.texts, init_from=run.init_from, **job.record)
            for event in view.follow(events):
                done = event if isinstance(event, Finished) else done
    except KeyboardInterrupt:
        if job.ranks:
            job.ranks.abandon()
        job.console.print(f"interrupted at once; the last snapshot is saved. {again}")
        return INTERRUPTED
    if not done:
        job.console.print(
            f"interrupted at step {trainer.step:,} of {trainer.recipe.steps:,}; everything is saved. {again}"
        )
    elif job.hints:
        line = f"{run.folder} holds {MODEL}, samples.txt, curve.svg, log.jsonl, {CONFIG}."
        job.console.print(line, soft_wrap=not job.console.is_terminal)
        show_next(job.console, run.folder, texts or run.texts, run.config)
    if job.json:
        seconds = time.monotonic() - job.begun
        print_json(_summary(run.folder, trainer.step, seconds, trainer.chars_per_second))
    return 0 if done else INTERRUPTED


def _open(job: Job, run: "Run", texts: list[str]) -> "tuple[Corpus, float]":
    """Open the corpus; return it, and the seconds that took."""
    from nextchar.kernels.threads import available_cores  # noqa: PLC0415  numba takes long to import

    begun = time.monotonic()
    progress = ReadingProgress(job.console)
    try:
        corpus = run.corpus(texts, progress)
    finally:
        progress.close()
    if job.ranks:
        how = {name: getattr(run.config, name) for name in ("units", "encoding", "suffix")}
        job.ranks.broadcast({"do": "open", "key": corpus.key, "texts": list(map(absolute, texts or run.texts)), **how})
        job.ranks.agree()
        job.console.print(f"{job.ranks.world} processes train together; threads of each: {available_cores()}")
    if corpus.skipped:
        job.console.print(f"left out {corpus.skipped:,} files that look binary (--units bytes would read them)")
    return corpus, time.monotonic() - begun


def show_next(console: Console, folder: Path, texts: Sequence[str], config: Config) -> None:
    """Say what can be done with a trained model, as commands to copy.

    Args:
        console: To print on.
        folder: The run.
        texts: What it was trained on.
        config: How these were read.
    """
    named = [text for text in texts if not is_pipe(text)][:1] or ["YOUR_TEXT.txt"]
    how = ["--encoding", config.encoding] if config.encoding != "utf-8" else []
    how += ["--unknown", "skip"] if config.suffix else []  # the other files of a folder may have other characters
    console.print("Next: generate text, look at its neurons, find what they follow:")
    for words in (
        ("sample", folder, "-n", 1000),
        ("inspect", folder, *named, *how),
        ("discover", folder, *named, *how),
    ):
        console.print(f"  {shell_command('nextchar', *words)}")


def _summary(folder: Path, steps: int, seconds: float, rate: float) -> dict[str, Any]:
    """Return the JSON of a finished training."""
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
