"""The thread that models compute on: one job at a time, quick ones in between."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from demur.model_thread import ModelThread, shared_thread

SECONDS = 30


@pytest.fixture
def thread() -> Iterator[ModelThread]:
    thread = ModelThread("models")
    yield thread
    thread.close()
    thread.join(SECONDS)


class Held:
    """A job that is under way until it is let go."""

    def __init__(self, thread: ModelThread) -> None:
        self._began, self._may_end = threading.Event(), threading.Event()
        self.done = thread.submit(self._hold)
        assert self._began.wait(SECONDS)

    def _hold(self) -> None:
        self._began.set()
        assert self._may_end.wait(SECONDS)

    def let_go(self) -> None:
        self._may_end.set()
        self.done.result(SECONDS)


def test_all_jobs_run_on_one_thread_that_keeps_no_process_alive(thread: ModelThread) -> None:
    first, second = (thread.run(threading.current_thread) for _ in range(2))
    assert first is second is not threading.current_thread()
    assert (first.name, first.daemon) == ("models", True)


def test_long_jobs_run_in_order_of_arrival_and_quick_ones_before_them(thread: ModelThread) -> None:
    ran: list[str] = []
    held = Held(thread)
    long = [thread.submit(lambda name=name: ran.append(name)) for name in ("first", "second")]
    thread.submit_quick(lambda: ran.append("quick"))
    held.let_go()
    long[-1].result(SECONDS)
    assert ran == ["quick", "first", "second"]


def test_a_long_job_gives_way_between_its_steps(thread: ModelThread) -> None:
    ran: list[str] = []

    def job() -> None:
        ran.append("step 1")
        thread.submit_quick(lambda: ran.append("quick"))
        thread.give_way()
        ran.append("step 2")

    thread.run(job)
    thread.run(lambda: None)
    assert ran == ["step 1", "quick", "step 2"]


def test_a_failure_is_its_callers_and_nobody_elses(thread: ModelThread) -> None:
    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        thread.run(fail)
    assert thread.run(lambda: 7) == 7


def test_a_job_that_was_cancelled_while_it_waited_never_runs(thread: ModelThread) -> None:
    ran: list[str] = []
    held = Held(thread)
    waiting = thread.submit(lambda: ran.append("cancelled"))
    assert waiting.cancel()
    held.let_go()
    thread.run(lambda: None)
    assert not ran
    with pytest.raises(CancelledError):
        waiting.result(SECONDS)


def test_a_job_may_run_another_and_wait_for_it(thread: ModelThread) -> None:
    assert thread.run(lambda: thread.run(lambda: 7)) == 7


def test_it_ends_when_what_was_asked_is_done() -> None:
    thread = ModelThread("models")
    ran: list[str] = []
    held = Held(thread)
    thread.submit(lambda: ran.append("asked before"))
    thread.close()
    held.let_go()
    thread.join(SECONDS)
    assert ran == ["asked before"]
    assert "models" not in {each.name for each in threading.enumerate()}


def test_a_process_has_one_that_is_shared() -> None:
    assert shared_thread() is shared_thread()
