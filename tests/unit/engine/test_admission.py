"""Places, the queue for them, and refusal."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from demur.engine.admission import Admission
from demur.errors import Draining, Overloaded
from demur.observability.metrics import Metrics

pytestmark = pytest.mark.anyio


async def test_never_more_than_max_running_at_once() -> None:
    """Ten at a door of three."""
    admission, running, most = Admission(3, 10, Metrics()), 0, 0

    async def work() -> None:
        nonlocal running, most
        async with admission.place():
            running += 1
            most = max(most, running)
            await anyio.sleep(0.001)
            running -= 1

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(work)
    assert (most, running) == (3, 0)


async def test_a_full_queue_is_refused_at_once_with_a_time() -> None:
    """One works, none may wait: the second hears so without waiting."""
    admission = Admission(1, 0, Metrics())
    async with admission.place():
        with anyio.fail_after(10), pytest.raises(Overloaded) as refusal:
            async with admission.place():
                raise AssertionError("admitted beyond the bound")
    assert refusal.value.retry_after_seconds is not None
    assert refusal.value.retry_after_seconds >= 1


async def test_who_was_given_a_place_no_longer_counts_as_waiting() -> None:
    """Three arrive in one turn of the event loop at a door of one and a queue of one: only the third is refused."""
    admission, outcomes = Admission(1, 1, Metrics()), []

    async def work() -> None:
        try:
            async with admission.place():
                await anyio.sleep(0.01)
                outcomes.append("answered")
        except Overloaded:
            outcomes.append("refused")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(work)
    assert sorted(outcomes) == ["answered", "answered", "refused"]


async def test_a_waiter_that_leaves_gives_its_turn_away() -> None:
    """A cancelled waiter neither holds a place nor counts as waiting."""
    metrics = Metrics()
    admission = Admission(1, 1, metrics)
    async with admission.place():
        with anyio.move_on_after(0.01) as left:
            async with admission.place():
                raise AssertionError("admitted beyond the bound")
        assert left.cancelled_caught
        assert metrics.registry.get_sample_value("demur_queued_requests") == 0
    with anyio.fail_after(10):
        async with admission.place():
            assert metrics.registry.get_sample_value("demur_inflight_requests") == 1


async def test_waiting_ends_before_the_time_of_the_request_does() -> None:
    """A request that finds no place within its time is told that the service is full, not that samples were slow."""
    admission = Admission(1, 1, Metrics())
    async with admission.place():
        with anyio.fail_after(10), pytest.raises(Overloaded, match="no place was free"):
            async with admission.place(timeout_seconds=0.05):
                raise AssertionError("admitted beyond the bound")


async def test_failing_work_gives_its_place_back() -> None:
    """An exception inside does not leak a place."""
    admission = Admission(1, 0, Metrics())
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            async with admission.place():
                raise ValueError("broken")
    async with admission.place():
        pass


async def test_draining_refuses_the_new_and_keeps_the_accepted() -> None:
    """What waits when the drain begins was accepted, and gets its place."""
    admission, answered = Admission(1, 5, Metrics()), []

    async def work() -> None:
        async with admission.place():
            await anyio.sleep(0.01)
            answered.append(1)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        admission.drain()
        with pytest.raises(Draining):
            async with admission.place():
                raise AssertionError("admitted while draining")
    assert len(answered) == 2


async def test_a_flood_from_one_tenant_keeps_no_other_out() -> None:
    """One works; a fills the queue of four; b still gets in, and next: the last of a is told to come back."""
    admission, served, refused = Admission(1, 4, Metrics()), [], []

    async def work(tenant: str, n: int) -> None:
        try:
            async with admission.place(tenant=tenant):
                served.append(f"{tenant}{n}")
                await anyio.lowlevel.checkpoint()
        except Overloaded:
            refused.append(f"{tenant}{n}")

    async with anyio.create_task_group() as group, admission.place(tenant="a"):
        for n in range(4):
            group.start_soon(work, "a", n)
        await anyio.wait_all_tasks_blocked()
        for n in range(3):
            group.start_soon(work, "b", n)
        await anyio.wait_all_tasks_blocked()
        assert sorted(refused) == ["a2", "a3", "b2"]
    assert served == ["a0", "b0", "a1", "b1"]


async def test_a_place_given_to_one_who_left_is_passed_on() -> None:
    """Called and cancelled in the same turn of the event loop: the place is not lost."""
    admission = Admission(1, 2, Metrics())
    scope = anyio.CancelScope()

    async def leaver() -> None:
        with scope:
            async with admission.place():
                raise AssertionError("it had left")

    async with anyio.create_task_group() as group, admission.place():
        group.start_soon(leaver)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
    with anyio.fail_after(10):
        async with admission.place():
            pass
