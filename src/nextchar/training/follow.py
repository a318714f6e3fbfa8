"""The processes of a training but the first: they carry out its orders, until the order "end"."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from nextchar.config import Config
from nextchar.device import pick_device
from nextchar.errors import TextError
from nextchar.recipe import Recipe
from nextchar.text.corpus import Corpus, cached_corpus, open_corpus
from nextchar.training.clock import Clock
from nextchar.training.events import Stopped
from nextchar.training.probe import measure_flops
from nextchar.training.ranks import Ranks
from nextchar.training.resume import from_bytes
from nextchar.training.start import exercise
from nextchar.training.trainer import Trainer


class Follower:
    """Takes part in the trainings of the first process.

    Args:
        ranks: All processes.
        train_members: Trains this process's members of an ensemble; returns whether it was not interrupted.
    """

    def __init__(self, ranks: Ranks, train_members: Callable[[dict[str, Any]], bool]) -> None:
        self._ranks, self._train_members = ranks, train_members
        self._trainer: Trainer | None = None
        self._asked = False

    def stop(self) -> None:
        """Ask all processes to stop after a step."""
        self._asked = True
        if self._trainer:
            self._trainer.stop()

    def follow(self) -> bool:
        """Carry out orders until the end; return whether the last training was not interrupted."""
        corpus, finished = None, True
        while True:
            order, content = self._ranks.receive()
            match order["do"]:
                case "open":
                    corpus = self._open(order)
                case "compile":
                    # Of a machine, one process compiles, and the others read its cache.
                    if os.environ.get("LOCAL_RANK") == "0":
                        exercise(Config.make(order["config"]))
                    self._ranks.agree()
                case "measure":
                    recipe, size = Recipe.make(order["config"]), order["vocabulary_size"]
                    device, seconds = pick_device(recipe.device), order["seconds"]
                    measure_flops(recipe, size, device, recipe.precision, seconds, self._ranks)
                case "train":
                    assert corpus is not None
                    finished = self._train(corpus, order, content)
                case "members":
                    finished = self._train_members(order)
                case _:
                    return finished

    def _open(self, order: dict[str, Any]) -> Corpus:
        """Open the text that the first process has opened: from the cache, or else one process of each machine reads it."""
        first = os.environ.get("LOCAL_RANK") == "0"
        corpus = self._read(order) if first else None
        self._ranks.agree()
        corpus = corpus or self._read(order)
        if corpus.key != order["key"]:
            raise TextError(f"{', '.join(order['texts'])}: the text on this machine is not that of the first process")
        return corpus

    @staticmethod
    def _read(order: dict[str, Any]) -> Corpus:
        if cached := cached_corpus(order["key"]):
            return cached
        texts: Sequence[str] = order["texts"]
        return open_corpus(texts, units=order["units"], encoding=order["encoding"], suffixes=order["suffix"])

    def _train(self, corpus: Corpus, order: dict[str, Any], content: bytes) -> bool:
        """Make the same steps as the first process; return whether they were not interrupted."""
        snapshot = from_bytes(content)
        self._trainer = Trainer(
            corpus.in_vocabulary(snapshot.vocabulary),
            # What "auto" means is decided once for all.
            snapshot.recipe.replace(device=order["device"], precision=order["precision"]),
            begin=snapshot.begin,
            clock=Clock(1.0, 1) if order["timed"] else None,  # only that of the first process counts
            snapshot=snapshot,
            ranks=self._ranks,
        )
        if self._asked:
            self._trainer.stop()
        return not any(isinstance(event, Stopped) for event in self._trainer.events())
