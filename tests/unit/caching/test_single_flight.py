"""One run for all who need it at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.abc import TaskGroup

from demur.caching.single_flight import SingleFlight
from demur.errors import BackendError, Draining, Overloaded
from demur.observability.metrics import Metrics

pytestmark = pytest.mark.anyio


@dataclass
class Work:
    """Runs until `gate` opens; numbers its runs."""

    gate: anyio.Event = field(default_factory=anyio.Event)
    failure: Exception | None = None
    n_begun: int = 0
    n_cancelled: int = 0

    async def __call__(self) -> int:
        self.n_begun += 1
        number = self.n_begun
        try:
            await self.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.n_cancelled += 1
            raise
        if self.failure:
            raise self.failure
        return number


@dataclass
class Asker:
    """One who waits, in a task of its own."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    got: list[object] = field(default_factory=list)

    async def ask(self, flights: SingleFlight[int], work: Callable[[], Awaitable[int]], seconds: float = 60) -> None:
        with self.scope:
            try:
                shared = await flights.share("key", seconds, work)
                self.got.append((shared.result(), shared.is_joined))
            except (BackendError, Draining, Overloaded) as failure:
                self.got.append(failure)


@asynccontextmanager
async def _flights(max_waiting: int = 100) -> AsyncIterator[tuple[SingleFlight[int], TaskGroup]]:
    async with anyio.create_task_group() as background, anyio.create_task_group() as askers:
        yield SingleFlight(background, Metrics(), max_waiting=max_waiting), askers


async def _asking(flights: SingleFlight[int], tasks: TaskGroup, work: Work, n: int, seconds: float = 60) -> list[Asker]:
    askers = [Asker() for _ in range(n)]
    for asker in askers:
        tasks.start_soon(asker.ask, flights, work, seconds)
    await anyio.wait_all_tasks_blocked()
    return askers


async def test_who_asks_meanwhile_shares_the_run() -> None:
    """One run for five; the one who began it has not joined. Who asks afterwards begins anew."""
    work = Work()
    async with _flights() as (flights, tasks):
        askers = await _asking(flights, tasks, work, 5)
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert [asker.got for asker in askers] == [[(1, False)], *[[(1, True)]] * 4]
        [late] = await _asking(flights, tasks, work, 1)
        assert late.got == [(2, False)]


async def test_keys_do_not_share() -> None:
    work = Work()
    async with _flights() as (flights, tasks):
        for key in ("a", "b"):
            tasks.start_soon(flights.share, key, 60, work)
        await anyio.wait_all_tasks_blocked()
        assert work.n_begun == 2
        work.gate.set()


async def test_a_failure_reaches_everybody_and_is_not_remembered() -> None:
    work = Work(failure=BackendError("broken"))
    async with _flights() as (flights, tasks):
        askers = await _asking(flights, tasks, work, 3)
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert [asker.got for asker in askers] == [[work.failure]] * 3
        work.failure = None
        [late] = await _asking(flights, tasks, work, 1)
        assert late.got == [(2, False)]


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_that_leaves_does_not_take_the_others_with_it(leaver: int) -> None:
    """Whether it began the run or joined it."""
    work = Work()
    async with _flights() as (flights, tasks):
        askers = await _asking(flights, tasks, work, 3)
        askers[leaver].scope.cancel()
        await anyio.wait_all_tasks_blocked()
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert [bool(asker.got) for asker in askers] == [i != leaver for i in range(3)]
        assert (work.n_begun, work.n_cancelled) == (1, 0)


async def test_work_that_nobody_waits_for_ends() -> None:
    """And who comes then begins anew, even before the old run has ended."""
    work = Work()
    async with _flights() as (flights, tasks):
        for asker in await _asking(flights, tasks, work, 3):
            asker.scope.cancel()
        [late] = await _asking(flights, tasks, work, 1)
        assert (work.n_begun, work.n_cancelled) == (2, 1)
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert late.got == [(2, False)]


async def test_a_run_that_may_outlast_the_asker_is_not_joined() -> None:
    """Who has a second does not wait for one who has a minute; a third joins the run that ends first."""
    work = Work()
    async with _flights() as (flights, tasks):
        [patient] = await _asking(flights, tasks, work, 1, seconds=60)
        [hurried] = await _asking(flights, tasks, work, 1, seconds=1)
        [third] = await _asking(flights, tasks, work, 1, seconds=30)
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert (patient.got, hurried.got, third.got) == ([(1, False)], [(2, False)], [(2, True)])


async def test_the_number_of_those_who_wait_is_bounded() -> None:
    """The third of two is refused, at once; when one has left there is room again."""
    work = Work()
    async with _flights(max_waiting=2) as (flights, tasks):
        [first, _] = await _asking(flights, tasks, work, 2)
        [third] = await _asking(flights, tasks, work, 1)
        assert isinstance(third.got[0], Overloaded)
        first.scope.cancel()
        await anyio.wait_all_tasks_blocked()
        [fourth] = await _asking(flights, tasks, work, 1)
        work.gate.set()
        await anyio.wait_all_tasks_blocked()
        assert fourth.got == [(1, True)]


async def test_the_end_of_the_service_ends_the_wait() -> None:
    """Its tasks are cancelled; who waits is told to go elsewhere."""
    work = Work()
    async with anyio.create_task_group() as askers, anyio.create_task_group() as background:
        flights: SingleFlight[int] = SingleFlight(background, Metrics(), max_waiting=10)
        waiting = await _asking(flights, askers, work, 2)
        background.cancel_scope.cancel()
    assert all(isinstance(asker.got[0], Draining) for asker in waiting)
    assert work.n_cancelled == 1
