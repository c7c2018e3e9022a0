"""Tenants take turns, whoever came first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.engine.fair_queue import FairQueue


def _queue(*arrivals: tuple[str, int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue()
    for tenant, item in arrivals:
        queue.push(tenant, item)
    return queue


def test_one_tenant_is_served_in_order() -> None:
    """As any queue."""
    queue = _queue(("a", 1), ("a", 2), ("a", 3))
    assert [queue.pop() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(IndexError, match="nobody waits"):
        queue.pop()


def test_a_flood_does_not_delay_others() -> None:
    """a sends five before b and c send two each: they are served in turn."""
    queue = _queue(*(("a", i) for i in range(5)), ("b", 10), ("b", 11), ("c", 20), ("c", 21))
    assert [queue.pop() for _ in range(9)] == [0, 10, 20, 1, 11, 21, 2, 3, 4]


def test_room_is_taken_from_the_longest_queue_only_while_that_is_fair() -> None:
    """a waits five times: b may take the last places, until both have three and two."""
    queue = _queue(*(("a", i) for i in range(5)))
    for item, displaced in ((10, 4), (11, 3)):
        assert queue.make_room_for("b") == displaced
        queue.push("b", item)
    assert queue.make_room_for("b") is None
    assert queue.make_room_for("a") is None
    assert len(queue) == 5


arrivals = st.lists(st.tuples(st.sampled_from("abcd"), st.integers()), max_size=40)


@given(arrivals)
def test_nothing_is_lost_and_order_within_a_tenant_is_kept(pushed: list[tuple[str, int]]) -> None:
    """What goes in comes out, and each tenant's in order."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for tenant, item in pushed:
        queue.push(tenant, (tenant, item))
    popped = [queue.pop() for _ in range(len(queue))]
    for tenant in "abcd":
        assert [p for p in popped if p[0] == tenant] == [p for p in pushed if p[0] == tenant]
    assert len(queue) == 0


@given(arrivals)
def test_nobody_waits_for_more_than_one_of_each_other(pushed: list[tuple[str, int]]) -> None:
    """Between two turns of a tenant, every other has at most one."""
    queue: FairQueue[str] = FairQueue()
    for tenant, _ in pushed:
        queue.push(tenant, tenant)
    popped = "".join(queue.pop() for _ in range(len(queue)))
    for tenant in set(popped):
        for between in popped.split(tenant)[:-1]:
            assert len(set(between)) == len(between)


@given(arrivals, st.sampled_from("abcd"))
def test_making_room_never_leaves_the_displaced_worse_off(pushed: list[tuple[str, int]], tenant: str) -> None:
    """Afterwards the tenant that gave way still has at least as many waiting as the one it gave way to."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for owner, item in pushed:
        queue.push(owner, (owner, item))
    displaced = queue.make_room_for(tenant)
    if displaced is not None:
        queue.push(tenant, (tenant, 0))
        left = [queue.pop()[0] for _ in range(len(queue))]
        assert left.count(displaced[0]) >= left.count(tenant)
