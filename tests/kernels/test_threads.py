import multiprocessing
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


def _in_a_child(queue: "multiprocessing.Queue[list[int]]") -> None:
    done: list[int] = []
    threads.parallel_for(lambda first, _: done.append(first), 8, 4)
    queue.put(sorted(done))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is split in a forked process, although the threads of its parent are not in it."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    threads.parallel_for(lambda *_: None, 8, 4)
    assert threads.pool.cache_info().currsize == 1
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == [0, 4]
    finally:
        child.kill()
        child.join()


def test_work_that_is_not_divided_is_done_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside `undivided` nothing is split, and after it as before."""
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    with threads.undivided():
        assert threads.split_range(30, 1) == [(0, 30)]
    assert len(threads.split_range(30, 1)) == 3
