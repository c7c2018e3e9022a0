"""Every sentence of the Tier protocols, for the tier in process, for Redis and for a Redis cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from blockbuster import blockbuster_ctx

from demur.caching.in_process import InProcessTier
from demur.caching.redis_tier import RedisTier
from demur.caching.tier import SharedTier, Tier
from demur.storage.redis_connection import open_redis
from tests.conformance.redis_server import RedisServer, redis_cluster, redis_server

pytestmark = pytest.mark.anyio

PATIENT = 10.0  # seconds that Redis may take on a busy machine


@pytest.fixture(scope="module")
def plain() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    with redis_cluster() as server:
        yield server


@asynccontextmanager
async def _redis_tier(request: pytest.FixtureRequest) -> AsyncIterator[RedisTier]:
    server: RedisServer = request.getfixturevalue("plain" if request.param == "redis" else "cluster")
    url = server.url if request.param == "redis" else server.url.replace("redis://", "redis+cluster://")
    server.client.flushall()
    tier = RedisTier(open_redis(url, timeout_seconds=PATIENT), timeout_seconds=PATIENT)
    yield tier
    await tier.aclose()


@pytest.fixture(params=["local", "redis", "cluster"])
async def tier(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Tier]:
    if request.param == "local":
        yield InProcessTier(max_entries=1000, max_bytes=1_000_000)
        return
    async with _redis_tier(request) as tier:
        yield tier


@pytest.fixture(params=["redis", "cluster"])
async def shared(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[SharedTier]:
    async with _redis_tier(request) as tier:
        yield tier


async def _until_gone(tier: Tier, name: str) -> None:
    with anyio.fail_after(PATIENT):
        while (await tier.get(name))[0] is not None:  # noqa: ASYNC110 - what happens in Redis sets no event here
            await anyio.sleep(0.01)


async def test_values_come_back_in_order(tier: Tier) -> None:
    """One per name, None for what is not there; nothing for no names. Names may lie in different slots of a cluster."""
    await tier.put({"a": b"1", "b": b"\x00\xff", "c": b""}, 60)
    assert await tier.get("b", "never", "a", "c") == [b"\x00\xff", None, b"1", b""]
    assert await tier.get() == []
    await tier.put({}, 60)


async def test_a_later_value_takes_the_place(tier: Tier) -> None:
    await tier.put({"a": b"1"}, 60)
    await tier.put({"a": b"2"}, 60)
    assert await tier.get("a") == [b"2"]


async def test_values_expire(tier: Tier) -> None:
    """After their time to live, and not with that of another."""
    await tier.put({"long": b"1"}, 60)
    await tier.put({"short": b"1"}, 0.05)
    await _until_gone(tier, "short")
    assert await tier.get("long") == [b"1"]


async def test_what_is_forgotten_is_gone(tier: Tier) -> None:
    """The others stay; forgetting what is not there is no error."""
    await tier.put({"a": b"1", "b": b"2", "c": b"3"}, 60)
    await tier.forget("a", "c", "never")
    await tier.forget()
    assert await tier.get("a", "b", "c") == [None, b"2", None]


async def test_a_lease_belongs_to_one(shared: SharedTier) -> None:
    """Another gets it when it is released; until then everybody can see who has it."""
    lease = await shared.acquire("work", b"me", 60)
    assert lease is not None
    assert await shared.acquire("work", b"you", 60) is None
    assert await shared.get("work") == [b"me"]
    assert await shared.acquire("other work", b"you", 60) is not None
    await lease.release()
    assert await shared.get("work") == [None]
    assert await shared.acquire("work", b"you", 60) is not None


async def test_many_at_once_and_one_gets_it(shared: SharedTier) -> None:
    leases = []

    async def try_it(token: bytes) -> None:
        leases.append(await shared.acquire("work", token, 60))

    async with anyio.create_task_group() as tasks:
        for i in range(20):
            tasks.start_soon(try_it, b"%d" % i)
    assert sum(lease is not None for lease in leases) == 1


async def test_a_lease_expires_and_is_another_s_then(shared: SharedTier) -> None:
    """Who had it can neither renew nor release what another has by now."""
    mine = await shared.acquire("work", b"me", 0.05)
    assert mine is not None
    await _until_gone(shared, "work")
    yours = await shared.acquire("work", b"you", 60)
    assert yours is not None
    assert not await mine.renew()
    await mine.release()
    assert await shared.get("work") == [b"you"]
    assert await yours.renew()


async def test_a_renewed_lease_lasts(shared: SharedTier) -> None:
    """Renewed at every third of its life, it is still there when its first life is over; nobody got it meanwhile."""
    lease = await shared.acquire("work", b"me", 1.5)
    assert lease is not None
    for _ in range(4):
        await anyio.sleep(0.5)
        assert await lease.renew()
        assert await shared.acquire("work", b"you", 60) is None


async def test_releasing_twice_is_no_error(shared: SharedTier) -> None:
    lease = await shared.acquire("work", b"me", 60)
    assert lease is not None
    await lease.release()
    await lease.release()


async def test_the_event_loop_is_never_blocked(tier: Tier) -> None:
    await tier.get("a")  # the first connection looks up the version of redis-py on disk
    with blockbuster_ctx():
        await tier.put({"a": b"1"}, 60)
        await tier.get("a")
        await tier.forget("a")


async def test_leases_never_block_the_event_loop(shared: SharedTier) -> None:
    await shared.get("a")
    with blockbuster_ctx():
        lease = await shared.acquire("work", b"me", 60)
        assert lease is not None
        await lease.renew()
        await lease.release()


async def test_closing_twice_is_no_error(tier: Tier) -> None:
    await tier.aclose()
    await tier.aclose()
