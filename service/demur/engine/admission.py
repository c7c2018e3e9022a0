"""How many answers may be in work, and how many may wait for it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import anyio

from demur.errors import Draining, Overloaded
from demur.observability.metrics import Metrics

_SMOOTHING = 0.1
_PATIENCE = 0.9  # share of its time that a request may wait: what is left must do for the answer


class Admission:
    """Runs `max_running` at once, lets `max_waiting` wait in order of arrival, refuses the rest."""

    def __init__(self, max_running: int, max_waiting: int, metrics: Metrics) -> None:
        self._places = anyio.Semaphore(max_running)
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._mean_seconds = 1.0
        self._metrics = metrics
        self.is_draining = False

    @asynccontextmanager
    async def place(self, timeout_seconds: float = math.inf) -> AsyncIterator[None]:
        """Hold a place while working. Raises Overloaded or Draining at once rather than wait without hope.

        Overloaded, too, when no place is free within the time.
        """
        self._refuse_if_hopeless()
        try:
            with anyio.fail_after(_PATIENCE * timeout_seconds):
                await self._wait()
        except TimeoutError:
            message = f"no place was free within {timeout_seconds:g} s; try again later"
            self._refuse(Overloaded(message, retry_after_seconds=self._expected_wait()))
        started = perf_counter()
        self._metrics.inflight.inc()
        try:
            yield
        finally:
            self._metrics.inflight.dec()
            self._places.release()
            self._mean_seconds += _SMOOTHING * (perf_counter() - started - self._mean_seconds)

    @property
    def _n_waiting(self) -> int:
        """Counted by the semaphore: one that was given a place, but has not run since, no longer waits."""
        return self._places.statistics().tasks_waiting

    def drain(self) -> None:
        """Finish what was accepted, accept nothing more."""
        self.is_draining = True

    def _refuse_if_hopeless(self) -> None:
        if self.is_draining:
            self._refuse(Draining("the service is shutting down; ask another replica", retry_after_seconds=5))
        if self._places.value == 0 and self._n_waiting >= self._max_waiting:
            message = f"{self._max_running} answers are in work and {self._n_waiting} wait; try again later"
            self._refuse(Overloaded(message, retry_after_seconds=self._expected_wait()))

    def _refuse(self, error: Overloaded | Draining) -> None:
        self._metrics.rejected.labels(error.code).inc()
        raise error

    async def _wait(self) -> None:
        self._metrics.queued.inc()
        try:
            await self._places.acquire()
        finally:
            self._metrics.queued.dec()

    def _expected_wait(self) -> float:
        """Seconds until the queue of now has gone through, at the recent mean time per answer."""
        return max(1.0, (self._n_waiting + 1) / self._max_running * self._mean_seconds)
