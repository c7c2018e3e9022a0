"""What every store promises of requests that are sent again, on SQLite and on real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from demur.errors import IdempotencyMismatch
from demur.storage.base import InProgress, Replay, Started, Store
from tests.redis_server import START_SECONDS

pytestmark = pytest.mark.anyio

T = TypeVar("T")


async def test_a_request_is_begun_once_and_replayed(stores: tuple[Store, Store]) -> None:
    """First started, then in progress, then a replay of the very bytes; on either replica."""
    started = await stores[0].begin("alice POST /v1/answer", "key", "print", hold_seconds=60)
    assert isinstance(started, Started)
    running = await stores[1].begin("alice POST /v1/answer", "key", "print", hold_seconds=60)
    assert isinstance(running, InProgress)
    assert 0 < running.seconds_left <= 60
    response = b"\x00\xff{}"
    assert await stores[0].finish("alice POST /v1/answer", "key", started.holder, response, keep_seconds=60)
    for store in stores:
        assert await store.begin("alice POST /v1/answer", "key", "print", hold_seconds=60) == Replay(response)


async def test_an_empty_response_is_a_response(store: Store) -> None:
    started = await store.begin("s", "k", "f", hold_seconds=60)
    assert isinstance(started, Started)
    await store.finish("s", "k", started.holder, b"", keep_seconds=60)
    assert await store.begin("s", "k", "f", hold_seconds=60) == Replay(b"")


async def test_a_key_used_for_something_else_is_refused(store: Store) -> None:
    """While it runs and after; other scopes have keys of their own."""
    started = await store.begin("alice", "key", "print", hold_seconds=60)
    assert isinstance(started, Started)
    with pytest.raises(IdempotencyMismatch):
        await store.begin("alice", "key", "other print", hold_seconds=60)
    await store.finish("alice", "key", started.holder, b"x", keep_seconds=60)
    with pytest.raises(IdempotencyMismatch):
        await store.begin("alice", "key", "other print", hold_seconds=60)
    assert isinstance(await store.begin("bob", "key", "other print", hold_seconds=60), Started)
    assert isinstance(await store.begin("alice", "key 2", "other print", hold_seconds=60), Started)


async def test_an_abandoned_request_can_be_sent_again(store: Store) -> None:
    """And only its holder can abandon it."""
    started = await store.begin("s", "k", "f", hold_seconds=60)
    assert isinstance(started, Started)
    await store.abandon("s", "k", "somebody else")
    assert isinstance(await store.begin("s", "k", "f", hold_seconds=60), InProgress)
    await store.abandon("s", "k", started.holder)
    assert isinstance(await store.begin("s", "k", "f", hold_seconds=60), Started)


async def test_a_finished_request_cannot_be_abandoned_or_finished_again(store: Store) -> None:
    started = await store.begin("s", "k", "f", hold_seconds=60)
    assert isinstance(started, Started)
    assert await store.finish("s", "k", started.holder, b"first", keep_seconds=60)
    assert not await store.finish("s", "k", started.holder, b"second", keep_seconds=60)
    await store.abandon("s", "k", started.holder)
    assert await store.begin("s", "k", "f", hold_seconds=60) == Replay(b"first")


async def test_a_crashed_holder_blocks_nobody_for_long(store: Store) -> None:
    """After its time another begins, whatever the fingerprint, and the first holder's result is not taken."""
    crashed = await store.begin("s", "k", "f", hold_seconds=0.05)
    assert isinstance(crashed, Started)

    async def begun() -> Started | None:
        try:
            found = await store.begin("s", "k", "another", hold_seconds=60)
        except IdempotencyMismatch:
            return None
        return found if isinstance(found, Started) else None

    second = await _eventually(begun)
    assert not await store.finish("s", "k", crashed.holder, b"late", keep_seconds=60)
    assert await store.finish("s", "k", second.holder, b"in time", keep_seconds=60)


async def test_a_response_is_forgotten_after_its_time(store: Store) -> None:
    started = await store.begin("s", "k", "f", hold_seconds=60)
    assert isinstance(started, Started)
    await store.finish("s", "k", started.holder, b"x", keep_seconds=0.05)

    async def begun() -> Started | None:
        found = await store.begin("s", "k", "f", hold_seconds=60)
        return found if isinstance(found, Started) else None

    await _eventually(begun)


async def _eventually(attempt: Callable[[], Awaitable[T | None]]) -> T:
    async with asyncio.timeout(START_SECONDS):
        while (found := await attempt()) is None:  # noqa: ASYNC110 - the database's clock sets no event
            await asyncio.sleep(0.01)
    return found


async def test_one_of_many_that_begin_at_once_is_started(stores: tuple[Store, Store]) -> None:
    """20 requests with one key on two replicas."""
    begun = await asyncio.gather(*(stores[i % 2].begin("s", "k", "f", hold_seconds=60) for i in range(20)))
    assert sum(isinstance(each, Started) for each in begun) == 1
