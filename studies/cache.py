"""What a study has made is kept as it comes, so that an interrupted one goes on where it was: results, and models."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from nextchar.config import Config
from nextchar.storage import write_model
from nextchar.text.corpus import Corpus
from nextchar.training.trainer import Trainer

T = TypeVar("T", bound=Any)


class Kept(Generic[T]):
    """The results of a study so far, a line of JSON each.

    Args:
        path: The file; it need not exist.
        kind: The dataclass of a result. Its `place` tells one from the others.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._path = path
        self._found = {each.place: each for each in (kind(**json.loads(line)) for line in lines)}

    def get(self, place: tuple[object, ...]) -> T | None:
        """Return the result at a place, if it is there."""
        return self._found.get(place)

    def all(self) -> list[T]:
        """Return every result, in the order in which they came."""
        return list(self._found.values())

    def add(self, result: T) -> T:
        """Keep a result, and return it."""
        self._found[result.place] = result
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        return result


def trained(corpus: Corpus, config: Config) -> Trainer:
    """Train to the end; the trainer has the best model, and knows what it came to."""
    trainer = Trainer(corpus, config)
    for _ in trainer.events():
        pass
    return trainer


def train_into(path: Path, corpus: Corpus, config: Config) -> bool:
    """Train a model into a file, unless it is there; tell whether it was trained now."""
    if path.exists():
        return False
    write_model(path, trained(corpus, config).best_model())
    return True
