"""Redis paused, killed, emptied, full, filled with garbage: answers go on, and the cache comes back by itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import anyio
import pytest

from demur.caching.breaker import CircuitBreaker
from demur.caching.codec import SCHEMA, Kept, encode
from demur.caching.names import Names, question_digest
from demur.caching.redis_tier import RedisTier
from demur.caching.tier import TierUnavailable
from demur.errors import CacheMiss, StoreUnavailable
from demur.storage.redis_connection import open_redis
from demur.types import Answer, CachePolicy, CacheUse, Degradation
from tests.conformance.redis_server import RedisServer, redis_server
from tests.conformance.replicas import Replica, replicas
from tests.conformance.waiting import until
from tests.unit.caching.answers import Oracle, answer, question, ready

pytestmark = pytest.mark.anyio

RESULT = Names("demur").result(question_digest(question(), "models"))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


async def _is_back(replica: Replica) -> bool:
    """An answer is remembered again."""
    await replica.cache.answer(question("again?"), ready())
    _, use = await replica.cache.answer(question("again?"), ready())
    return use.status == "hit"


async def _comes_back(replica: Replica) -> None:
    with anyio.fail_after(60):
        while not await _is_back(replica):  # noqa: ASYNC110 - Redis sets no event here
            await anyio.sleep(0.05)


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_without_redis_every_answer_is_drawn(server: RedisServer, fault: str) -> None:
    """It says so, and is neither remembered nor less calibrated for it; afterwards all is as before."""
    async with replicas(1, server.url, timeout_s=1) as [one]:
        assert await _is_back(one)
        getattr(server, fault)()
        for i in range(3):
            drawn, use = await one.cache.answer(question(f"question {i}"), ready())
            assert (use, drawn.is_calibrated) == (CacheUse("miss"), False)
            assert drawn.degraded == (Degradation.UNCALIBRATED, Degradation.CACHE_UNAVAILABLE)
        with pytest.raises(CacheMiss):
            await one.cache.answer(question(cache=CachePolicy("only")), ready())
        with pytest.raises(StoreUnavailable):
            await one.cache.forget("ans_1", "anonymous")
        assert one.flights("alone") == 3
        assert one.looked_up("error") >= 3
        if fault == "pause":
            server.resume()
        else:
            server.start()
        await _comes_back(one)


@pytest.mark.parametrize("fault", ["pause", "kill"])
async def test_redis_that_goes_away_during_the_work_takes_no_answer_with_it(server: RedisServer, fault: str) -> None:
    """The holder's answer arrives, and so does that of a replica that was waiting for it."""
    oracle = Oracle()
    got: list[tuple[str, tuple[Degradation, ...]]] = []

    async def ask(replica: Replica) -> None:
        drawn, use = await replica.cache.answer(question(), oracle)
        got.append((use.status, drawn.degraded))

    async with replicas(2, server.url, timeout_s=1) as both:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, both[0])
            await until(lambda: len(oracle.asked) == 1)
            tasks.start_soon(ask, both[1])
            getattr(server, fault)()
            await until(lambda: len(oracle.asked) == 2)
            oracle.gate.set()
        assert got == [("miss", (Degradation.UNCALIBRATED, Degradation.CACHE_UNAVAILABLE))] * 2
        if fault == "pause":
            server.resume()
        else:
            server.start()
        await _comes_back(both[0])


async def test_redis_emptied_during_the_work_costs_a_second_run_at_most(server: RedisServer) -> None:
    """The lease is gone: the other begins too. Both are answered."""
    oracle, got = Oracle(), []

    async def ask(replica: Replica) -> None:
        got.append((await replica.cache.answer(question(), oracle))[1].status)

    async with replicas(2, server.url) as both, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, both[0])
        await until(lambda: len(oracle.asked) == 1)
        server.client.flushall()
        tasks.start_soon(ask, both[1])
        await until(lambda: len(oracle.asked) == 2)
        oracle.gate.set()
    assert got == ["miss", "miss"]


async def test_a_full_redis_remembers_nothing_and_answers_all(server: RedisServer) -> None:
    """It refuses writes, even of the lease; reads go on."""
    async with replicas(1, server.url) as [one]:
        await one.cache.answer(question("remembered"), ready())
        server.client.config_set("maxmemory", "1")
        drawn, use = await one.cache.answer(question(), ready())
        assert (use.ttl_seconds, Degradation.CACHE_UNAVAILABLE in drawn.degraded) == (0, True)
        assert (await one.cache.answer(question("remembered"), ready()))[1].status == "hit"
        server.client.config_set("maxmemory", "0")
        assert await _is_back(one)


@pytest.mark.parametrize(
    ("data", "counted"),
    [
        (b"\x00garbage", "error"),
        (b"demur:" + SCHEMA + b"{", "error"),
        (b"demur:0123456789abcdef" + b"whatever an older version wrote", "stale"),
    ],
)
async def test_what_cannot_be_read_is_drawn_again(server: RedisServer, data: bytes, counted: str) -> None:
    """Counted, and replaced by an answer that can be read."""
    server.client.set(RESULT, data)
    async with replicas(1, server.url) as [one]:
        assert (await one.cache.answer(question(), ready()))[1].status == "miss"
        assert one.looked_up(counted) >= 1
        assert one.looked_up("hit") == 0
        assert (await one.cache.answer(question(), ready()))[1].status == "hit"


async def test_a_name_of_the_wrong_type_is_no_error(server: RedisServer) -> None:
    """Somebody else's list where an answer should be: answered all the same, and other names are not affected."""
    server.client.lpush(RESULT, "x")
    async with replicas(1, server.url) as [one]:
        drawn, _ = await one.cache.answer(question(), ready())
        assert Degradation.CACHE_UNAVAILABLE in drawn.degraded
        assert await _is_back(one)


async def test_an_answer_that_json_cannot_tell_is_given_and_not_remembered(server: RedisServer) -> None:
    """Half of a surrogate pair from the language model's server."""

    def garble(made: Answer) -> Answer:
        return replace(made, text="\ud800")

    async with replicas(1, server.url) as [one]:
        drawn, use = await one.cache.answer(question(), ready(garble))
        assert (drawn.text, use) == ("\ud800", CacheUse("miss"))
        assert one.looked_up("error") >= 1


async def test_a_large_answer_is_remembered(server: RedisServer) -> None:
    """A megabyte of text that does not compress well: read and written beside the event loop."""
    long = "".join(chr(0x4E00 + (7919 * i) % 20_000) for i in range(350_000))
    async with replicas(1, server.url) as [one]:
        await one.cache.answer(question(), ready(lambda made: replace(made, text=long)))
        found, use = await one.cache.answer(question(), ready())
    assert (found.text == long, use.status) == (True, "hit")
    assert len(encode(Kept(answer(question()), 0, 1))) < 16_384 < len(encode(Kept(found, 0, 1)))


@contextmanager
def _black_hole() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port that takes every connection and never says anything."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listening.getsockname()[1], taken
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()


async def test_a_dead_redis_costs_one_request_its_timeout_and_not_the_next() -> None:
    """Of a hundred calls one is tried; the others fail at once."""
    with _black_hole() as (port, taken):
        client = open_redis(f"redis://127.0.0.1:{port}", timeout_seconds=0.25)
        tier = RedisTier(client, timeout_seconds=0.25, breaker=CircuitBreaker(first_seconds=3600))
        for _ in range(100):
            with pytest.raises(TierUnavailable):
                await tier.get("a")
        assert len(taken) == 1
        await tier.aclose()


async def test_a_restart_that_nobody_saw_costs_nothing(server: RedisServer) -> None:
    """The connections that are kept are closed by then: none of them may fail a call."""
    tier = RedisTier(open_redis(server.url, timeout_seconds=10), timeout_seconds=10)
    assert await _got_at_once(tier, 8) == [[None]] * 8
    assert server.client.info("clients")["connected_clients"] > 2  # several, beside the one that asks
    server.kill()
    server.start()
    assert await _got_at_once(tier, 8) == [[None]] * 8
    await tier.aclose()


async def _got_at_once(tier: RedisTier, n: int) -> list[list[bytes | None]]:
    got: list[list[bytes | None]] = []

    async def get(name: str) -> None:
        got.append(await tier.get(name))

    async with anyio.create_task_group() as tasks:
        for i in range(n):
            tasks.start_soon(get, f"name {i}")
    return got


async def test_calls_that_are_cancelled_leave_no_mess(server: RedisServer) -> None:
    """A thousand calls given up at some moment: the others read what belongs to them."""
    tier = RedisTier(open_redis(server.url, timeout_seconds=10), timeout_seconds=10)
    await tier.put({str(i): b"%d" % i for i in range(1000)}, 60)
    wrong: list[int] = []

    async def read(i: int) -> None:
        with anyio.move_on_after(0.0005 * (i % 40) if i % 2 else 60):
            if await tier.get(str(i)) != [b"%d" % i]:
                wrong.append(i)

    for start in range(0, 1000, 50):
        async with anyio.create_task_group() as tasks:
            for i in range(start, start + 50):
                tasks.start_soon(read, i)
    assert wrong == []
    await tier.aclose()


async def test_connections_are_bounded(server: RedisServer) -> None:
    """300 calls at once: no more than 32 connections."""
    tier = RedisTier(open_redis(server.url, timeout_seconds=30), timeout_seconds=30)
    async with anyio.create_task_group() as tasks:
        for i in range(300):
            tasks.start_soon(tier.get, str(i))
    assert server.client.info("clients")["connected_clients"] <= 32 + 1
    await tier.aclose()


async def test_a_lease_asked_for_by_one_who_left_holds_up_nobody(server: RedisServer) -> None:
    """Cancelled at whatever moment of asking, 100 of them: the next one gets it."""
    tier = RedisTier(open_redis(server.url, timeout_seconds=10), timeout_seconds=10)
    n_cancelled = 0
    for i in range(100):
        lease = None
        with anyio.move_on_after(0.00004 * i) as scope:
            lease = await tier.acquire("work", b"left", 60)
        n_cancelled += scope.cancelled_caught
        if lease is not None:
            await lease.release()
        following = await tier.acquire("work", b"next", 60)
        assert following is not None
        await following.release()
    assert n_cancelled > 0
    await tier.aclose()
