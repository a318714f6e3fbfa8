"""Writes a training into its run folder: log, samples, curve, best model and snapshot.

Samples and curve are made from the log, so a resumed run corrects all of them together.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nextchar.config import to_toml
from nextchar.errors import MissingExtraError
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.sample import sample
from nextchar.storage import (
    CHECKPOINTS,
    CONFIG,
    LOG,
    MODEL,
    TRAINING,
    member_folders,
    read_log,
    to_file,
    write_model,
    write_text,
)
from nextchar.text.hub import is_hub
from nextchar.training import events
from nextchar.training.curve import draw_curve
from nextchar.training.resume import write_snapshot
from nextchar.training.trainer import Trainer

SAMPLES, CURVE = "samples.txt", "curve.svg"
SAMPLE_LENGTH = 300


def record(
    trainer: Trainer,
    folder: Path,
    texts: Sequence[str] = (),
    *,
    tensorboard: bool = False,
    keep_checkpoints: bool = False,
    init_from: str = "",
) -> Iterator[events.Event]:
    """Run a training, write it into a folder, and yield its events, with the samples among them.

    Where a new run starts, the files of an older one in the folder are removed.

    Args:
        trainer: Ready to run.
        folder: The run folder; made if it does not exist.
        texts: What the corpus was opened from, for `config.toml`.
        tensorboard: Also write events for TensorBoard.
        keep_checkpoints: Also keep the model at every sample: after 10, 20, 30, 50, 70, 100 ... steps.
        init_from: The model it started from, for `config.toml`, and for the provenance if it is on the Hub.
    """
    trainer.origin = {"init_from": init_from} if is_hub(init_from) else {}
    folder.mkdir(parents=True, exist_ok=True)
    board = _board(folder) if tensorboard else None
    write_text(folder / CONFIG, to_toml(trainer.recipe, texts, init_from))
    if not trainer.step:
        remove_run(folder)
    log = Log(folder / LOG, trainer.step)
    try:
        for event in trainer.events():
            if isinstance(event, events.CheckpointDue):
                log.sync()  # before the snapshot: a resumed run does not repeat what came before that
                _checkpoint(trainer, folder, to_toml(trainer.recipe, texts, init_from))
                continue
            yield event
            if isinstance(event, events.SampleDue):
                if keep_checkpoints:
                    name = f"step-{event.step:06}.safetensors"
                    write_model(folder / CHECKPOINTS / name, to_file(trainer.current_model()))
                sampled = _sampled(trainer, event)
                log.write(sampled)
                yield sampled
                continue
            log.write(event)
            if board:
                _to_board(board, event)
            if isinstance(event, events.Finished):
                _views(folder, log)  # before the model, with which the run is finished
            if (isinstance(event, events.Validated) and event.best) or isinstance(event, events.Finished):
                write_model(folder / MODEL, trainer.best_model())
    finally:
        log.close()
        if board:
            board.close()
        _views(folder, log)


def remove_run(folder: Path) -> None:
    """Remove the models of an older run from a folder, or of an ensemble."""
    for name in (TRAINING, MODEL):
        (folder / name).unlink(missing_ok=True)
    for place in (folder / CHECKPOINTS, *member_folders(folder)):
        shutil.rmtree(place, ignore_errors=True)


def _checkpoint(trainer: Trainer, folder: Path, config: str) -> None:
    # The model first, so that the best model of a snapshot always exists. Before the first validation, it is the network
    # in its present state.
    if trainer.best is None or not (folder / MODEL).exists():
        write_model(folder / MODEL, trainer.best_model())
    write_snapshot(folder / TRAINING, trainer.snapshot())
    write_text(folder / CONFIG, config)


def with_samples(trainer: Trainer) -> Iterator[events.Event]:
    """Run a training without a folder, and yield its events, with the samples among them."""
    for event in trainer.events():
        yield _sampled(trainer, event) if isinstance(event, events.SampleDue) else event


def _sampled(trainer: Trainer, event: events.Event) -> events.Sampled:
    options = SampleOptions(length=SAMPLE_LENGTH, seed=trainer.recipe.seed)
    return events.Sampled(event.step, event.seconds, sample(to_file(trainer.current_model()), "", options).text)


class Log:
    """One event per line, as JSON; events that a run logged after the snapshot it is resumed from are removed."""

    def __init__(self, path: Path, step: int) -> None:
        self.entries: list[dict[str, Any]] = [entry for entry in read_log(path) if step and entry["step"] <= step]
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in self.entries))
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: events.Event) -> None:
        """Append an event."""
        entry = event.as_dict()
        self.entries.append(entry)
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Make what was written durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _views(folder: Path, log: Log) -> None:
    """Write the timeline of samples and the curve."""
    timeline = [
        f"── step {entry['step']:,} ──\n{entry['text']}\n" for entry in log.entries if entry["event"] == "sampled"
    ]
    write_text(folder / SAMPLES, "\n".join(timeline))
    draw_curve(log.entries, folder / CURVE)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  an optional extra
    except ImportError:
        raise MissingExtraError("TensorBoard is not installed; pip install 'nextchar[track]'") from None
    return SummaryWriter(folder / "tensorboard")


def _to_board(board: Any, event: events.Event) -> None:
    if isinstance(event, events.Progress):
        board.add_scalar("train/nats_per_char", event.loss, event.step)
        board.add_scalar("train/learning_rate", event.learning_rate, event.step)
        board.add_scalar("train/gradient_norm", event.gradient_norm, event.step)
        board.add_scalar("train/chars_per_second", event.chars_per_second, event.step)
    elif isinstance(event, events.Validated):
        board.add_scalar("valid/nats_per_char", event.score.nats_per_char, event.step)
    elif isinstance(event, events.Sampled):
        board.add_text("sample", f"```\n{event.text}\n```", event.step)
