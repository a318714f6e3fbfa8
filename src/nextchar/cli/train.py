"""`nextchar train`: texts in, a run folder out."""

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import create_model
from rich.console import Console

from nextchar.cli.console import BITS, ReadingProgress, TrainingView, duration, print_json, stderr
from nextchar.config import BUDGETS, PRESETS, Config, compose, read_toml
from nextchar.errors import ConfigError
from nextchar.storage import MODEL, read_model

GROUPS = {name: Group(name, sort_key=place) for place, name in enumerate(("Budget", "Model", "Training", "Text", "Machine"), 1)}
INTERRUPTED = 130


def _flags() -> type[Config]:
    """Give every option of Config its place in the help; name, type, default, bounds and help are Config's own."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        extra = info.json_schema_extra
        group = GROUPS[str(extra["group"])] if isinstance(extra, dict) else None
        fields[name] = (Annotated[Config.__annotations__[name], Parameter(group=group)], info)
    return create_model("Flags", __base__=Config, **fields)


Flags: Any = Parameter(name="*")(_flags())


def command(
    *texts: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    preset: str | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    init_from: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    tensorboard: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
    options: Flags = None,
) -> int:
    """Learn from texts, and keep the best model.

    TEXT is a file (also .gz, .bz2, .xz), a folder (read recursively), a glob, - for standard input, or a name of
    `nextchar corpora`. Several are read one after the other. What is left open is chosen from the budget, the speed
    of this machine and the length of the text.

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
    json
        Print one JSON object on standard output.
    """
    begun = time.monotonic()
    console = stderr()
    explicit = {} if options is None else options.model_dump(include=options.model_fields_set)
    if resume:
        return _resume(console, resume, list(texts), explicit, json, tensorboard, begun)
    chosen, named = compose(explicit, preset=preset, file=config)
    sources = list(texts) or named
    folder = output or _default_folder(sources)
    if (folder / MODEL).exists() and not overwrite:
        raise ConfigError(
            f"{folder} already holds a run; go on with --resume {folder}, name another folder with -o, or give --overwrite"
        )
    return _train(console, folder, sources, chosen, json, tensorboard, begun, init_from=init_from, fresh=True)


def _resume(
    console: Console, folder: Path, texts: list[str], explicit: dict[str, Any], json: bool, tensorboard: bool, begun: float
) -> int:
    """Go on with a run: as it was planned, or with a new budget."""
    from nextchar.training.run import CONFIG, open_snapshot  # noqa: PLC0415  torch takes long to import

    budget = {name: explicit.pop(name) for name in BUDGETS if explicit.get(name) is not None}
    if explicit:
        names = ", ".join("--" + name.replace("_", "-") for name in explicit)
        raise ConfigError(f"a resumed run keeps its options, but {names} was given; --init-from starts a new run from its model")
    snapshot = open_snapshot(folder)
    values, named = read_toml(folder / CONFIG)
    sources = texts or named
    if snapshot is None:
        return _train(console, folder, sources, compose({**values, **budget})[0], json, tensorboard, begun, fresh=True)
    if budget:
        open_again = {**dict.fromkeys(BUDGETS), "validate_every": None, "validate_chars": None, **budget}
        return _train(
            console, folder, sources, snapshot.config.replace(**open_again), json, tensorboard, begun, snapshot=snapshot
        )
    if not snapshot.unfinished:
        console.print(f"this run is finished ({snapshot.steps:,} steps); give --minutes, --epochs or --steps to go on from there")
        if json:
            print_json(_summary(folder, 0.0, 0.0))
        return 0
    return _train(console, folder, sources, None, json, tensorboard, begun, snapshot=snapshot)


def _train(
    console: Console,
    folder: Path,
    sources: list[str],
    config: Config | None,
    json: bool,
    tensorboard: bool,
    begun: float,
    *,
    init_from: Path | None = None,
    snapshot: Any = None,
    fresh: bool = False,
) -> int:
    """Open the corpus, run the training with the run folder listening, and show it."""
    base = read_model(init_from) if init_from else None
    options = config or snapshot.config
    if base:
        options = config = options.replace(units=base.vocabulary.units)
    corpus, reading = _open(console, sources, options)
    if fresh:
        # From here on the run can be resumed, even if it is killed before its first step.
        _claim(folder, options, sources)

    from nextchar.training import events  # noqa: PLC0415  torch takes long to import
    from nextchar.training.run import record  # noqa: PLC0415  as above
    from nextchar.training.trainer import Trainer  # noqa: PLC0415  as above

    trainer = Trainer(
        corpus, config, init_from=base, snapshot=snapshot, spent=max(0.0, time.monotonic() - begun - reading)
    )
    code = 0
    done: events.Finished | None = None
    with TrainingView(console) as view, _interruptible(trainer):
        for event in record(trainer, folder, sources, tensorboard=tensorboard):
            view.show(event)
            if isinstance(event, events.Stopped):
                code = INTERRUPTED
            elif isinstance(event, events.Finished):
                done = event
    if done is None:
        console.print(f"interrupted at step {trainer.step:,} of {trainer.steps:,}; all is saved. Go on with:\n  nextchar train --resume {folder}")
    else:
        _farewell(console, folder, done)
    if json:
        print_json(_summary(folder, time.monotonic() - begun, done.chars_per_second if done else 0.0))
    return code


def _open(console: Console, sources: list[str], options: Config) -> tuple[Any, float]:
    """Open the corpus; return it, and the seconds its encoding took."""
    from nextchar.text.corpus import open_corpus  # noqa: PLC0415  `train --help` must not pay for numpy

    begun = time.monotonic()
    progress = ReadingProgress(console)
    try:
        corpus = open_corpus(
            sources, units=options.units, encoding=options.encoding, suffixes=options.suffix, progress=progress
        )
    finally:
        progress.close()
    if corpus.skipped:
        console.print(f"left out {corpus.skipped:,} files that look binary (--units bytes would read them)")
    return corpus, time.monotonic() - begun


def _claim(folder: Path, options: Config, sources: list[str]) -> None:
    from nextchar.config import to_toml  # noqa: PLC0415  beside its use
    from nextchar.storage import TRAINING, write_text  # noqa: PLC0415  as above

    # A copy of standard input is gone when the run is resumed; its encoded text is in the cache, under its key.
    (folder / TRAINING).unlink(missing_ok=True)
    (folder / MODEL).unlink(missing_ok=True)
    write_text(folder / "config.toml", to_toml(options, [_absolute(source) for source in sources]))


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


def _farewell(console: Console, folder: Path, done: Any) -> None:
    how = {"steps": "done", "patience": "stopped early: no new best", "time": "stopped: the time was up"}[done.reason]
    console.print(f"{how} after {done.step:,} steps, {done.epochs:.2f} epochs, {duration(done.seconds)}")
    if done.score:
        console.print(
            f"best model: {done.score.bits_per_char:.3f} bits/char ({done.score.nats_per_char:.4f} nats) on "
            f"{done.score.chars:,} validation characters, stream"
        )
    console.print(f"kept in {folder}: {MODEL}, samples.txt, curve.svg, log.jsonl, config.toml. Go on with:")
    console.print(f"  nextchar sample {folder} -n 1000\n  nextchar evaluate {folder} --split valid\n  nextchar train --resume {folder} --minutes 5")


def _summary(folder: Path, seconds: float, rate: float) -> dict[str, Any]:
    """Return the JSON of the contract."""
    model = read_model(folder)
    return {
        "run": str(folder),
        "model": str(folder / MODEL),
        "steps": model.provenance["steps"],
        "epochs": model.provenance["epochs"],
        "seconds": round(seconds, 3),
        "chars_per_second": round(rate, 1),
        "parameters": model.architecture.parameters(len(model.vocabulary)),
        "valid": model.provenance["valid"],
    }


__all__ = ["BITS", "PRESETS", "command"]
