import pytest

from nextchar.sampling.thread_tuner import ThreadTuner, thread_counts


class _Machine:
    """Generates at so many seconds a character for each number of threads, on a clock of its own."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds
        self.time = 0.0
        self.used: list[int] = []
        self.tuner = ThreadTuner(list(seconds), lambda: self.time)

    def generate(self, calls: int, length: int = 64) -> list[int]:
        """Return how many threads each call had."""
        for _ in range(calls):
            assert self.tuner.timed(lambda size: self._run(size, length), length) == length
        return self.used[-calls:]

    def _run(self, size: int, length: int) -> int:
        self.used.append(size)
        self.time += self.seconds[size] * length
        return length


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (9, [1, 2, 4, 8])])
def test_numbers_of_threads_double(cores: int, expected: list[int]) -> None:
    """1, 2, 4 ... threads are tried, up to the number of cores."""
    assert thread_counts(cores) == expected


@pytest.mark.parametrize("seconds", [{1: 3.0, 2: 2.0}, {1: 2.0, 2: 3.0}, {1: 4.0, 2: 3.0, 4: 2.0, 8: 9.0}])
def test_the_fastest_is_kept(seconds: dict[int, float]) -> None:
    """After a trial of each the fastest is used, nearly always."""
    machine = _Machine(seconds)
    machine.generate(2 * len(seconds))
    used = machine.generate(500)
    best = min(seconds, key=seconds.__getitem__)
    assert used[:50] == [best] * 50
    assert used.count(best) > 0.85 * 500


def test_one_slow_call_decides_nothing() -> None:
    """The faster of two calls counts."""
    machine = _Machine({1: 3.0, 2: 90.0})
    machine.generate(1)
    machine.seconds[2] = 2.0
    machine.generate(3)
    assert machine.generate(50) == [2] * 50


def test_a_core_that_becomes_free_is_found() -> None:
    """A number of threads that was slower is tried again after a while."""
    machine = _Machine({1: 2.0, 2: 3.0})
    machine.generate(20)
    machine.seconds[2] = 1.0
    machine.generate(50)
    assert set(machine.generate(20)) == {2}


def test_a_core_that_is_lost_is_noticed_at_once() -> None:
    """Several threads that are much slower than one are given up after one call and a trial."""
    machine = _Machine({1: 2.0, 2: 1.0})
    machine.generate(10)
    machine.seconds[2] = 30.0
    machine.generate(5)
    assert set(machine.generate(20)) == {1}


def test_short_calls_use_one_thread() -> None:
    """Short calls use one thread, and are not measured."""
    machine = _Machine({1: 2.0, 2: 1.0})
    assert machine.generate(100, length=8) == [1] * 100
    machine.generate(4)
    assert machine.generate(5) == [2] * 5


def test_a_given_number_of_threads_is_kept() -> None:
    """With nothing to choose from, every call has that number."""
    machine = _Machine({3: 9.0})
    assert machine.generate(5, length=1) == [3] * 5
