"""How many answers may be in work, how many may wait for it, and who is next."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NoReturn

import anyio

from demur.engine.fair_queue import FairQueue
from demur.errors import Draining, Overloaded
from demur.observability.metrics import Metrics
from demur.types import ANONYMOUS

_SMOOTHING = 0.1
_PATIENCE = 0.9  # share of its time that a request may wait: what is left must do for the answer


@dataclass(eq=False, slots=True)
class _Waiter:
    """`called`: its turn has come, or it was sent away to make room (`is_displaced`)."""

    called: anyio.Event = field(default_factory=anyio.Event)
    is_displaced: bool = False


class Admission:
    """Runs `max_running` at once, lets `max_waiting` wait, refuses the rest.

    Tenants take turns. Where the queue is full, a tenant that has fewer waiting than another takes the place of that
    one's last: a flood from one tenant fills the queue, and yet does not keep the others out of it.
    """

    def __init__(self, max_running: int, max_waiting: int, metrics: Metrics) -> None:
        self._n_free = max_running
        self._waiting: FairQueue[_Waiter] = FairQueue()
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._mean_seconds = 1.0
        self._metrics = metrics
        self.is_draining = False

    @asynccontextmanager
    async def place(self, timeout_seconds: float = math.inf, tenant: str = ANONYMOUS) -> AsyncIterator[None]:
        """Hold a place while working. Raises Overloaded or Draining at once rather than wait without hope.

        Overloaded, too, when no place is free within the time, or when the place in the queue goes to another tenant.
        """
        if self.is_draining:
            self._refuse(Draining("the service is shutting down; ask another replica", retry_after_seconds=5))
        if self._n_free:
            self._n_free -= 1
        else:
            await self._wait(timeout_seconds, tenant)
        started = perf_counter()
        self._metrics.inflight.inc()
        try:
            yield
        finally:
            self._metrics.inflight.dec()
            self._pass_on()
            self._mean_seconds += _SMOOTHING * (perf_counter() - started - self._mean_seconds)

    def drain(self) -> None:
        """Finish what was accepted, accept nothing more."""
        self.is_draining = True

    async def _wait(self, timeout_seconds: float, tenant: str) -> None:
        """Return with a place. Whoever was called before leaving passes the place on."""
        waiter = self._line_up(tenant)
        self._metrics.queued.inc()
        try:
            with anyio.fail_after(_PATIENCE * timeout_seconds):
                await waiter.called.wait()
        except BaseException as reason:
            self._leave(waiter, tenant)
            if not isinstance(reason, TimeoutError):
                raise
            self._refuse(self._overloaded(f"no place was free within {timeout_seconds:g} s"))
        finally:
            self._metrics.queued.dec()
        if waiter.is_displaced:
            self._refuse(self._overloaded("the queue is full, and others had their turn less often"))

    def _line_up(self, tenant: str) -> _Waiter:
        if len(self._waiting) >= self._max_waiting:
            displaced = self._waiting.make_room_for(tenant)
            if displaced is None:
                self._refuse(self._overloaded(f"{self._max_running} answers are in work, {len(self._waiting)} wait"))
            displaced.is_displaced = True
            displaced.called.set()
        waiter = _Waiter()
        self._waiting.push(tenant, waiter)
        return waiter

    def _leave(self, waiter: _Waiter, tenant: str) -> None:
        if not waiter.called.is_set():
            self._waiting.remove(tenant, waiter)
        elif not waiter.is_displaced:
            self._pass_on()

    def _pass_on(self) -> None:
        """Call the next in line, who has the place from now on."""
        if self._waiting:
            self._waiting.pop().called.set()
        else:
            self._n_free += 1

    def _overloaded(self, reason: str) -> Overloaded:
        return Overloaded(f"{reason}; try again later", retry_after_seconds=self._expected_wait())

    def _refuse(self, error: Overloaded | Draining) -> NoReturn:
        self._metrics.rejected.labels(error.code).inc()
        raise error

    def _expected_wait(self) -> float:
        """Seconds until the queue of now has gone through, at the measured mean time per answer."""
        return max(1.0, (len(self._waiting) + 1) / self._max_running * self._mean_seconds)
