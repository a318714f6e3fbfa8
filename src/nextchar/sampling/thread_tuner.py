"""Chooses how many threads generate one text, by trying: other cores may become busy or free at any time."""

import time
from collections.abc import Callable, Sequence

# A helper thread starts within some tens of microseconds, too late for a shorter call.
_MIN_LENGTH = 16
# Calls with each number of threads in a trial, of which the fastest counts: disturbances only make a call
# slower.
_TRIES = 2
# Calls between two trials.
_CALLS = 50
# With several threads, a call so many times slower than one thread starts a trial at once: a helper has lost
# its core.
_TOO_SLOW = 1.5


class ThreadTuner:
    """Chooses the number of threads of each call from the times of earlier calls, made in any thread.

    Args:
        counts: The numbers of threads to choose from, 1 among them unless there is only one.
        clock: Returns the time in seconds.
    """

    def __init__(self, counts: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._counts = counts
        self._clock = clock
        self._begin_trial()

    def timed(self, run: Callable[[int], int], length: int) -> int:
        """Call `run` with a number of threads.

        Args:
            run: Returns how many steps it did.
            length: The most steps it will do.

        Returns:
            What `run` returned.
        """
        if len(self._counts) == 1:
            return run(self._counts[0])
        if length < _MIN_LENGTH:
            return run(1)
        trial = self._trial
        threads = trial[-1] if trial else self._best
        begun = self._clock()
        done = run(threads)
        self._record(threads, (self._clock() - begun) / max(done, 1))
        return done

    def _begin_trial(self) -> None:
        self._trial = [*self._counts] * _TRIES
        self._seconds = dict.fromkeys(self._counts, float("inf"))
        self._best, self._left = self._counts[0], _CALLS

    def _record(self, threads: int, seconds: float) -> None:
        """Record the seconds per step of one call."""
        if self._trial:
            self._trial = self._trial[:-1]
            self._seconds[threads] = min(self._seconds[threads], seconds)
            self._best = min(self._counts, key=self._seconds.__getitem__)
            return
        self._left -= 1
        if not self._left or (threads > 1 and seconds > _TOO_SLOW * self._seconds[1]):
            self._begin_trial()


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads to try with so many cores: 1, 2, 4 ..."""
    return [2**power for power in range(max(1, most).bit_length())]
