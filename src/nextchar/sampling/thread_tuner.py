"""How many cores write one text: as many as were fastest when last tried, because another core may be busy, or not there."""

import time
from collections.abc import Callable, Sequence

# A thread takes some tens of microseconds to come, which is too late for fewer characters.
_WORTH_HELP = 16
# Calls of each size in a trial, of which the quickest counts: what disturbs a measurement never speeds it up.
_TRIES = 2
# Calls between two trials.
_CALLS = 50
# A team so many times slower than one core alone is tried against it at once: a member has lost its core.
_TOO_SLOW = 1.5


class ThreadTuner:
    """Chooses how many cores share a call, from what earlier ones took.

    Args:
        sizes: What there is to choose from.
        clock: Tells the time in seconds.
    """

    def __init__(self, sizes: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._sizes = sizes
        self._clock = clock
        self._begin_trial()

    def timed(self, run: Callable[[int], int], length: int) -> int:
        """Call `run` with a number of cores.

        Args:
            run: Returns how many characters it wrote.
            length: How many it will write at the most.

        Returns:
            What `run` returned.
        """
        if len(self._sizes) == 1:
            return run(self._sizes[0])
        if length < _WORTH_HELP:
            return run(1)
        size = self._trial[-1] if self._trial else self._best
        begun = self._clock()
        done = run(size)
        self._note(size, (self._clock() - begun) / max(done, 1))
        return done

    def _begin_trial(self) -> None:
        self._trial = [*self._sizes] * _TRIES
        self._seconds = dict.fromkeys(self._sizes, float("inf"))
        self._best, self._left = self._sizes[0], _CALLS

    def _note(self, size: int, seconds: float) -> None:
        """Note what a character took."""
        if self._trial:
            self._trial.pop()
            self._seconds[size] = min(self._seconds[size], seconds)
            self._best = min(self._sizes, key=self._seconds.__getitem__)
            return
        self._left -= 1
        if not self._left or (size > 1 and seconds > _TOO_SLOW * self._seconds[1]):
            self._begin_trial()


def sizes(most: int) -> list[int]:
    """Return the sizes of team to try where there are so many cores: 1, 2, 4 ..."""
    return [2**power for power in range(max(1, most).bit_length())]
