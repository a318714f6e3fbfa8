"""Training for studies, and results and models kept on disk, so that an interrupted study continues where it stopped."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from nextchar.config import compose
from nextchar.storage import ModelFile, write_model
from nextchar.text.corpus import Corpus
from nextchar.training.events import Validated
from nextchar.training.start import make_trainer
from nextchar.training.trainer import Trainer

T = TypeVar("T", bound=Any)


class ResultLog(Generic[T]):
    """The results of a study so far, as lines of JSON in a file.

    Args:
        path: The file; it need not exist.
        kind: The dataclass of a result; its `key` identifies it.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._path = path
        self._results = {each.key: each for each in (kind(**json.loads(line)) for line in lines)}

    def get(self, key: tuple[object, ...]) -> T | None:
        """Return the result with a key, if there is one."""
        return self._results.get(key)

    def all(self) -> list[T]:
        """Return every result, in the order in which they were added."""
        return list(self._results.values())

    def add(self, result: T) -> T:
        """Append a result to the file, and return it."""
        self._results[result.key] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result


class Training(NamedTuple):
    """A finished training.

    Attributes:
        model: The best model on validation.
        trainer: The trainer, after its last step.
        seconds: Wall clock of the whole training.
        validations: (seconds since the start, validation nats per character).
    """

    model: ModelFile
    trainer: Trainer
    seconds: float
    validations: list[tuple[float, float]]


def train(corpus: Corpus, preset: str | None = None, **options: Any) -> Training:
    """Train to the end of the budget; `options` are those of `nextchar train`, the others are chosen automatically."""
    config, _ = compose(options, preset=preset)
    begin = time.perf_counter()
    trainer = make_trainer(corpus, config)
    validations = [
        (time.perf_counter() - begin, event.score.nats_per_char)
        for event in trainer.events()
        if isinstance(event, Validated)
    ]
    return Training(trainer.best_model(), trainer, time.perf_counter() - begin, validations)


def train_into(path: Path, corpus: Corpus, **options: Any) -> float | None:
    """Train a model into a file unless the file exists; return the seconds of the training, None if there was none."""
    if path.exists():
        return None
    training = train(corpus, **options)
    write_model(path, training.model)
    return training.seconds
