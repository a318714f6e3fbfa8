"""Batches: N lanes of contiguous text, each window going on where the last one ended.

A batch is a pure function of the step, so that a resumed run sees what an uninterrupted one would have seen.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.corpus import Corpus


class Batch(NamedTuple):
    """One window of every lane.

    Attributes:
        inputs: `(T, N)` ids; the first of a cold lane is START.
        targets: `(T, N)` ids, the inputs one character on.
        cold: `(N,)`, which lanes start from the empty state.
        epoch: Passes over the text that were finished before this one.
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    cold: npt.NDArray[np.bool_]
    epoch: int


class BatchLoader:
    """Reads a corpus in N lanes, window by window.

    The text is a ring: every epoch begins at a random place of it, so that every alignment of windows and every
    cut between lanes is seen. All lanes are cold at the beginning of an epoch, and each with the chance
    `cold_start` at any other step. Without those cold starts the network never learns to begin.
    """

    def __init__(
        self, corpus: Corpus, lanes: int, window: int, *, seed: int = 0, cold_start: float = 0.02
    ) -> None:
        self.corpus, self.lanes, self.window = corpus, lanes, window
        self.seed, self.cold_start = seed, cold_start
        self.steps_per_epoch = len(corpus) // (lanes * window)
        if not self.steps_per_epoch:
            raise TextError(
                f"the training part has {len(corpus):,} {corpus.vocabulary.units}, too few for {lanes} lanes of windows "
                f"of {window} (which takes {lanes * window:,}); give more text, or smaller --lanes or --window"
            )

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        epoch, index = divmod(step, self.steps_per_epoch)
        length, start = len(self.corpus), self.corpus.vocabulary.start
        spacing = length // self.lanes
        rotation = int(_random(self.seed, 0, epoch).integers(length))
        rows = np.empty((self.lanes, self.window + 1), np.int64)
        for lane in range(self.lanes):
            begin = (rotation + lane * spacing + index * self.window) % length
            rows[lane] = self._ring(begin, self.window + 1)
        cold = _random(self.seed, 1, step).random(self.lanes) < self.cold_start
        if not index:
            cold[:] = True
        inputs, targets = rows[:, :-1].T.copy(), rows[:, 1:].T.copy()
        inputs[0, cold] = start
        return Batch(inputs, targets, cold, epoch)

    def _ring(self, begin: int, count: int) -> npt.NDArray[np.int64]:
        piece = self.corpus.take(begin, begin + count)
        while len(piece) < count:
            piece = np.concatenate([piece, self.corpus.take(0, count - len(piece))])
        return piece


def _random(seed: int, purpose: int, counter: int) -> np.random.Generator:
    """Return the random stream of one purpose at one place: nothing of it needs to be saved."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, counter))))
