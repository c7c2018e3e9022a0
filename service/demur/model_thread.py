"""The thread that models compute on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import TypeVar

T = TypeVar("T")


class ModelThread:
    """Runs one job at a time: quick ones first, long ones in order of arrival.

    It starts with the first job, as a daemon, so that a hung model cannot keep the process from ending.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._quick: deque[Callable[[], None]] = deque()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._starting = Lock()

    def submit_quick(self, job: Callable[[], None]) -> None:
        """A job that raises nothing and takes no longer than a step of a long one."""
        self._quick.append(job)
        self._submit(self.give_way)

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """A job that may take long, and calls `give_way` between its steps."""
        future: Future[T] = Future()
        self._submit(lambda: _run(job, future))
        return future

    def give_way(self) -> None:
        """Run the quick jobs that wait. For jobs of this thread."""
        while self._quick:
            self._quick.popleft()()

    def run(self, job: Callable[[], T]) -> T:
        """Blocks until the job is done. Raises as `job`."""
        return job() if current_thread() is self._thread else self.submit(job).result()

    def close(self) -> None:
        """End when the jobs are done. Does not block."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Block until it has ended after `close`, for so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _submit(self, job: Callable[[], None]) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self.give_way()
            job()


@cache
def shared_thread() -> ModelThread:
    """The one that all models of this process load and compute on.

    Every thread that computes on a CPU brings OpenMP workers of its own. While there are more of them than cores, they
    sleep and are woken at each step of a model instead of waiting awake: with two such threads on two cores, passes of
    small models take twice as long and more (`python -m benchmarks.one_thread`).
    """
    return ModelThread("demur-models")


def _run(job: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = job()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
