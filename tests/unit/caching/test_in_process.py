"""The bounds of the tier in process; what all tiers share is in tests/conformance/test_tier.py."""

from __future__ import annotations

import pytest

from demur.caching.in_process import InProcessTier

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_entries_are_bounded_and_the_least_recently_used_goes() -> None:
    tier = InProcessTier(max_entries=2, max_bytes=10**6)
    await tier.put({"a": b"1", "b": b"2"}, 60)
    await tier.get("a")
    await tier.put({"c": b"3"}, 60)
    assert await tier.get("a", "b", "c") == [b"1", None, b"3"]


async def test_bytes_are_bounded() -> None:
    """Ten values of 100 kB in half a megabyte: the last four are there."""
    tier = InProcessTier(max_entries=1000, max_bytes=500_000)
    for i in range(10):
        await tier.put({str(i): bytes(100_000)}, 60)
    there = [name for name in map(str, range(10)) if (await tier.get(name))[0] is not None]
    assert there == ["6", "7", "8", "9"]


async def test_a_value_larger_than_the_memory_is_not_kept_and_takes_the_place_of_none() -> None:
    """The value it replaces is gone: it was out of date."""
    tier = InProcessTier(max_entries=10, max_bytes=10_000)
    await tier.put({"a": b"1", "b": b"2"}, 60)
    await tier.put({"a": bytes(20_000)}, 60)
    assert await tier.get("a", "b") == [None, b"2"]


async def test_time_to_live_counts_from_the_last_put() -> None:
    """Reading does not prolong it."""
    clock = Clock()
    tier = InProcessTier(max_entries=10, max_bytes=10_000, timer=clock)
    await tier.put({"a": b"1"}, 10)
    clock.now = 9.9
    assert await tier.get("a") == [b"1"]
    await tier.put({"a": b"2"}, 10)
    clock.now = 19.8
    assert await tier.get("a") == [b"2"]
    clock.now = 20
    assert await tier.get("a") == [None]
