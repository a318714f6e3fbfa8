"""Batches: B sequences of T consecutive characters, each continuing where the same row of the batch before ended.

A batch is a pure function of the step, so a resumed run reads the same batches as an uninterrupted one.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.corpus import Corpus


class Batch(NamedTuple):
    """The input of one training step.

    Attributes:
        inputs: `(T, B)` ids; the first of a reset row is START.
        targets: `(T, B)` ids: the inputs, shifted by one character.
        reset: `(B,)`, which rows start from the empty state.
        epoch: Passes over the text completed before this batch.
    """

    inputs: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    reset: npt.NDArray[np.bool_]
    epoch: int


class BatchLoader:
    """Cuts a corpus into batches.

    The text is treated as a ring, and every epoch starts at a random offset, so that the cuts between sequences differ
    from epoch to epoch. All rows are reset at the start of an epoch, and each with probability `state_reset_prob` at
    any other step: without resets the network never learns to predict from the empty state.

    Args:
        corpus: The training part.
        batch_size: B.
        seq_length: T, in characters.
        seed: Of the offsets and resets.
        state_reset_prob: Per row and step.

    Raises:
        TextError: The corpus is shorter than one batch.
    """

    def __init__(
        self, corpus: Corpus, batch_size: int, seq_length: int, *, seed: int = 0, state_reset_prob: float = 0.02
    ) -> None:
        self.corpus, self.batch_size, self.seq_length = corpus, batch_size, seq_length
        self._seed, self._state_reset_prob = seed, state_reset_prob
        self.steps_per_epoch = len(corpus) // (batch_size * seq_length)
        if not self.steps_per_epoch:
            raise TextError(
                f"the training part has {len(corpus):,} {corpus.vocabulary.units}, fewer than one batch of {batch_size} "
                f"sequences of {seq_length} ({batch_size * seq_length:,}); give more text, or a smaller --batch-size or "
                f"--seq-length"
            )

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
        epoch, index = divmod(step, self.steps_per_epoch)
        length = len(self.corpus)
        offset = int(_random(self._seed, 0, epoch).integers(length)) + index * self.seq_length
        begins = offset + np.arange(self.batch_size) * (length // self.batch_size)
        rows = self.corpus.at((begins[:, None] + np.arange(self.seq_length + 1)) % length)
        reset = _random(self._seed, 1, step).random(self.batch_size) < self._state_reset_prob
        if not index:
            reset[:] = True
        inputs, targets = rows[:, :-1].T.copy(), rows[:, 1:].T.copy()
        inputs[0, reset] = self.corpus.vocabulary.start
        return Batch(inputs, targets, reset, epoch)


def _random(seed: int, purpose: int, counter: int) -> np.random.Generator:
    """Return the random stream of one purpose at one place; its state need not be saved."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, purpose, counter))))
