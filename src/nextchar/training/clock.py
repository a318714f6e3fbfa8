"""The clock of a budget in minutes: how many steps fit, and when to stop."""

import math
import time

REVIEWS = (0.03, 0.06, 0.12, 0.2, 0.27)  # fractions of the run at which the number of steps is corrected
TOLERANCE = 1.06  # of the budget, after which a run is cut short


def training_seconds(minutes: float) -> float:
    """Return the part of a budget that is left for steps, after start, validations and the last score."""
    return max(30 * minutes, 55 * minutes - 5)


class Clock:
    """Keeps a budget in minutes.

    It moves the last step while the learning rate does not depend on it yet. Later the last step is fixed, so that the
    run can be repeated exactly, and only a run that would exceed its time by more than 6 % is cut short.

    Args:
        minutes: The budget.
        most_steps: After which a short text has been read often enough.
        spent: Seconds of the budget that have passed already.
        moves_validations: Whether the interval of validations may follow the number of steps.
    """

    def __init__(self, minutes: float, most_steps: int, *, spent: float = 0.0, moves_validations: bool = True) -> None:
        self.most_steps, self.moves_validations = most_steps, moves_validations
        self._budget = minutes * 60
        self._begun = time.monotonic() - spent
        self._reviews = list(REVIEWS)
        self._first: tuple[int, float] | None = None

    def seconds(self) -> float:
        """Return the seconds used so far."""
        return time.monotonic() - self._begun

    def review(self, step: int, steps: int, *, training_seconds: float, later: float, hold: float) -> int | None:
        """Return a better number of steps, at a few moments early in the run.

        Args:
            step: Steps done.
            steps: Steps planned so far.
            training_seconds: Seconds that they took, without validations.
            later: Seconds that validations and the end will still take.
            hold: Fraction of the run at a constant learning rate; only there the end may move.
        """
        # By steps as well as by time: a first estimate may be too low by any factor.
        done = max(self.seconds() / self._budget, step / steps)
        if step > hold * steps or not self._reviews or done < self._reviews[0]:
            return None
        self._reviews.pop(0)
        if self._first is None:
            # The first steps include warm-up, so the speed is measured from here on.
            self._first = (step, training_seconds)
            return None
        measured, seconds = step - self._first[0], training_seconds - self._first[1]
        if not measured or seconds <= 0:
            return None
        total = step + max(0, round((self._budget - self.seconds() - later) * measured / seconds))
        return min(self.most_steps, max(total, math.ceil(step / hold), 1))

    def over(self, ending: float) -> bool:
        """Return whether the run must be cut short, if it takes `ending` seconds more after its last step."""
        return self.seconds() + ending > TOLERANCE * self._budget
