import pytest

from nextchar.sampling.thread_tuner import ThreadTuner, sizes


class _Machine:
    """Writes at so many seconds a character for each number of cores, on a clock of its own."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds
        self.time = 0.0
        self.used: list[int] = []
        self.pace = ThreadTuner(list(seconds), lambda: self.time)

    def write(self, calls: int, length: int = 64) -> list[int]:
        """Return how many cores each call had."""
        for _ in range(calls):
            assert self.pace.timed(lambda size: self._run(size, length), length) == length
        return self.used[-calls:]

    def _run(self, size: int, length: int) -> int:
        self.used.append(size)
        self.time += self.seconds[size] * length
        return length


@pytest.mark.parametrize(("cores", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (9, [1, 2, 4, 8])])
def test_sizes_of_team_double(cores: int, expected: list[int]) -> None:
    """1, 2, 4 ... cores are tried, as far as there are some."""
    assert sizes(cores) == expected


@pytest.mark.parametrize("seconds", [{1: 3.0, 2: 2.0}, {1: 2.0, 2: 3.0}, {1: 4.0, 2: 3.0, 4: 2.0, 8: 9.0}])
def test_the_fastest_is_kept(seconds: dict[int, float]) -> None:
    """After a trial of each the fastest writes, nearly always."""
    machine = _Machine(seconds)
    machine.write(2 * len(seconds))
    used = machine.write(500)
    best = min(seconds, key=seconds.__getitem__)
    assert used[:50] == [best] * 50
    assert used.count(best) > 0.85 * 500


def test_one_slow_call_decides_nothing() -> None:
    """The quicker of two calls counts."""
    machine = _Machine({1: 3.0, 2: 90.0})
    machine.write(1)
    machine.seconds[2] = 2.0
    machine.write(3)
    assert machine.write(50) == [2] * 50


def test_a_core_that_becomes_free_is_found() -> None:
    """What was slower is tried again after a while."""
    machine = _Machine({1: 2.0, 2: 3.0})
    machine.write(20)
    machine.seconds[2] = 1.0
    machine.write(50)
    assert set(machine.write(20)) == {2}


def test_a_core_that_is_lost_is_noticed_at_once() -> None:
    """A team much slower than one core is left after one call and a trial."""
    machine = _Machine({1: 2.0, 2: 1.0})
    machine.write(10)
    machine.seconds[2] = 30.0
    machine.write(5)
    assert set(machine.write(20)) == {1}


def test_few_characters_are_not_worth_help() -> None:
    """Short calls are written alone, and tell nothing."""
    machine = _Machine({1: 2.0, 2: 1.0})
    assert machine.write(100, length=8) == [1] * 100
    machine.write(4)
    assert machine.write(5) == [2] * 5


def test_a_size_that_was_asked_for_is_not_questioned() -> None:
    """With nothing to choose from, every call has it."""
    machine = _Machine({3: 9.0})
    assert machine.write(5, length=1) == [3] * 5
