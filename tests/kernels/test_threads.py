import threading
from concurrent.futures import Future

import pytest

from nextchar.kernels import threads


def test_an_error_waits_for_the_other_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the share of this thread comes out when no other share is at work any more."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    at_work, failed, real = threading.Event(), threading.Event(), threads.wait
    done: list[int] = []

    def wait(waiting: list[Future[None]]) -> None:
        failed.set()
        real(waiting)

    def work(first: int, _: int) -> None:
        if not first:
            assert at_work.wait(10)
            raise ValueError("here")
        at_work.set()
        # The other share has failed, and its error is on its way out.
        assert failed.wait(10)
        done.append(first)

    monkeypatch.setattr(threads, "wait", wait)
    with pytest.raises(ValueError, match="here"):
        threads.parallel_for(work, 8, 4)
    assert done == [4]
