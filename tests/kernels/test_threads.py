import threading
from concurrent.futures import Future

import pytest

from nextchar.kernels import threads


def test_an_error_waits_for_the_other_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the range of the calling thread is raised when the other ranges have ended."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    running, failed, real = threading.Event(), threading.Event(), threads.wait
    done: list[int] = []

    def wait(waiting: list[Future[None]]) -> None:
        failed.set()
        real(waiting)

    def work(first: int, _: int) -> None:
        if not first:
            assert running.wait(10)
            raise ValueError("first range")
        running.set()
        # The calling thread has failed, and waits before it raises.
        assert failed.wait(10)
        done.append(first)

    monkeypatch.setattr(threads, "wait", wait)
    with pytest.raises(ValueError, match="first range"):
        threads.parallel_for(work, 8, 4)
    assert done == [4]
