"""Requests of this process that need the same work share one run of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from demur.errors import Draining, Overloaded
from demur.observability.metrics import Metrics

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    """One run. Neither a result nor a failure at the end: it was cancelled."""

    seconds: float
    deadline: float
    n_waiting: int = 0
    result: tuple[T] | None = None
    failure: Exception | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    is_done: anyio.Event = field(default_factory=anyio.Event)


@dataclass(frozen=True, slots=True)
class Shared(Generic[T]):
    """What came of a run: `result()` returns or raises it. `seconds` is what it had; `is_joined`: it was another's."""

    result: Callable[[], T]
    seconds: float
    is_joined: bool


class SingleFlight(Generic[T]):
    """The work belongs to a task of `tasks`: it goes on while anybody waits for it, and ends when nobody does.

    What it raises reaches everybody who waits. At most `max_waiting` do; more are refused.
    """

    def __init__(self, tasks: TaskGroup, metrics: Metrics, *, max_waiting: int) -> None:
        self._tasks = tasks
        self._metrics = metrics
        self._max_waiting = max_waiting
        self._n_waiting = 0
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def share(self, key: Hashable, seconds: float, work: Callable[[], Awaitable[T]]) -> Shared[T]:
        """What came of `work`, which ends within `seconds`, or of another's that ends no later. Raises Overloaded.

        A run that may outlast the caller's time is not joined: its caller would get nothing, rather than a part.
        """
        if self._n_waiting >= self._max_waiting:
            self._metrics.rejected.labels(Overloaded.code).inc()
            raise Overloaded(f"{self._n_waiting} requests wait for an answer; try again later")
        flight = self._flights.get(key)
        is_joined = flight is not None and flight.deadline <= monotonic() + seconds
        if flight is None or not is_joined:
            flight = self._take_off(key, seconds, work)
        return await self._wait(key, flight, is_joined=is_joined)

    def _take_off(self, key: Hashable, seconds: float, work: Callable[[], Awaitable[T]]) -> _Flight[T]:
        flight: _Flight[T] = _Flight(seconds, monotonic() + seconds)
        self._flights[key] = flight
        self._tasks.start_soon(self._fly, key, flight, work)
        return flight

    async def _fly(self, key: Hashable, flight: _Flight[T], work: Callable[[], Awaitable[T]]) -> None:
        try:
            with flight.scope:
                flight.result = (await work(),)
        except Exception as failure:  # raised again by everybody who waits
            flight.failure = failure
        finally:
            self._land(key, flight)
            flight.is_done.set()

    async def _wait(self, key: Hashable, flight: _Flight[T], *, is_joined: bool) -> Shared[T]:
        flight.n_waiting += 1
        self._n_waiting += 1
        try:
            await flight.is_done.wait()
        finally:
            flight.n_waiting -= 1
            self._n_waiting -= 1
            if not flight.n_waiting:
                self._land(key, flight)
                flight.scope.cancel()
        return Shared(lambda: _outcome(flight), flight.seconds, is_joined)

    def _land(self, key: Hashable, flight: _Flight[T]) -> None:
        """From now on, who needs the same begins anew."""
        if self._flights.get(key) is flight:
            del self._flights[key]


def _outcome(flight: _Flight[T]) -> T:
    if flight.failure is not None:
        raise flight.failure
    if flight.result is None:
        raise Draining("the service is shutting down; ask another replica", retry_after_seconds=5)
    return flight.result[0]
