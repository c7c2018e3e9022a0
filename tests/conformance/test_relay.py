"""Replicas that need the same answer at the same time, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anyio
import pytest
from anyio.abc import TaskGroup

from demur.caching.names import Names, question_digest
from demur.errors import BackendError
from demur.types import Answer, CachePolicy, CacheStatus, Degradation, Question
from tests.conformance.redis_server import RedisServer, redis_server
from tests.conformance.replicas import Replica, replicas
from tests.conformance.waiting import until
from tests.unit.caching.answers import Oracle, question, ready

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.client.flushall()
    return running


Got = list[tuple[str, CacheStatus, float]]


async def _ask(replica: Replica, asked: Question, oracle: Oracle, got: Got) -> None:
    try:
        answer, use = await replica.cache.answer(asked, oracle)
        got.append((answer.id, use.status, use.ttl_seconds))
    except BackendError:
        got.append(("failed", "miss", 0))


async def _one_after_the_other(
    tasks: TaskGroup, both: list[Replica], asked: Question, oracle: Oracle, got: Got, server: RedisServer
) -> None:
    """The first works, and the second has seen it at work."""
    tasks.start_soon(_ask, both[0], asked, oracle, got)
    await until(lambda: len(oracle.asked) == 1)
    before = server.client.info("commandstats")["cmdstat_get"]["calls"]
    tasks.start_soon(_ask, both[1], asked, oracle, got)
    await until(lambda: server.client.info("commandstats")["cmdstat_get"]["calls"] >= before + 7)


async def test_one_works_and_the_other_waits(server: RedisServer) -> None:
    """One run for both; the one who waited has the same answer, and it is remembered for all."""
    oracle, got = Oracle(), Got()
    async with replicas(2, server.url) as both:
        async with anyio.create_task_group() as tasks:
            await _one_after_the_other(tasks, both, question(), oracle, got, server)
            oracle.gate.set()
        assert sorted(got) == [("ans_1", "miss", 3600), ("ans_1", "shared", 3600)]
        assert (both[0].flights("led"), both[1].flights("shared"), len(oracle.asked)) == (1, 1, 1)
        await _ask(both[1], question(), oracle, got)
        assert got[-1][:2] == ("ans_1", "hit")


async def test_a_weak_answer_is_handed_over_and_not_remembered(server: RedisServer) -> None:
    """Who saw it being drawn takes it; who comes later does not, although it lies there for some seconds."""
    oracle, got = Oracle(lambda made: replace(made, degraded=(Degradation.NO_LOGPROBS,))), Got()
    async with replicas(2, server.url) as both:
        async with anyio.create_task_group() as tasks:
            await _one_after_the_other(tasks, both, question(), oracle, got, server)
            oracle.gate.set()
        assert sorted(got) == [("ans_1", "miss", 0), ("ans_1", "shared", 0)]
        assert len(server.client.keys("demur:*:done")) == 1
        await _ask(both[1], question(), oracle, got)
        assert got[-1][:2] == ("ans_2", "miss")
    assert server.client.keys("*:res") == []


async def test_an_answer_that_must_not_be_kept_is_not_handed_over(server: RedisServer) -> None:
    """`ttl_s: 0`: its text never reaches Redis; the other draws its own."""
    oracle, got = Oracle(), Got()
    asked = question(cache=CachePolicy(ttl_seconds=0))
    async with replicas(2, server.url) as both, anyio.create_task_group() as tasks:
        await _one_after_the_other(tasks, both, asked, oracle, got, server)
        oracle.gate.set()
    assert sorted(got) == [("ans_1", "miss", 0), ("ans_2", "miss", 0)]
    [done] = server.client.keys("demur:*:done")
    assert len(server.client.get(done)) < 60


async def test_a_failure_of_the_one_lets_the_other_try(server: RedisServer) -> None:
    def fail_first(made: Answer) -> Answer:
        if made.id == "ans_1":
            raise BackendError("broken")
        return made

    oracle, got = Oracle(fail_first), Got()
    async with replicas(2, server.url) as both, anyio.create_task_group() as tasks:
        await _one_after_the_other(tasks, both, question(), oracle, got, server)
        oracle.gate.set()
    assert sorted(got) == [("ans_2", "miss", 3600), ("failed", "miss", 0)]


async def test_one_that_leaves_hands_the_work_on(server: RedisServer) -> None:
    """Its asker hangs up: the lease is let go at once, not after its hour."""
    oracle, got = Oracle(), Got()
    async with replicas(2, server.url, lock_ttl_s=3600) as both, anyio.create_task_group() as tasks:
        async with anyio.create_task_group() as first:
            first.start_soon(_ask, both[0], question(), oracle, got)
            await until(lambda: len(oracle.asked) == 1)
            tasks.start_soon(_ask, both[1], question(), oracle, got)
            first.cancel_scope.cancel()
        await until(lambda: len(oracle.asked) == 2)
        oracle.gate.set()
    assert (got, oracle.n_cancelled) == ([("ans_2", "miss", 3600)], 1)


async def test_a_dead_holder_is_followed_when_its_lease_has_expired(server: RedisServer) -> None:
    """The lock of a replica that is no more, half a second to live."""
    lock = Names("demur").lock(question_digest(question(), "models"))
    server.client.set(lock, b"0123456789abcdef@0.000;", px=500)
    got = Got()
    async with replicas(1, server.url) as [one]:
        await _ask(one, question(), ready(), got)
        assert one.flights("led") == 1
    assert got == [("ans_1", "miss", 3600)]


async def test_a_lease_lasts_as_long_as_the_work(server: RedisServer) -> None:
    """Work that outlasts the first life of its lease: that is renewed, and nobody else begins."""
    oracle, got = Oracle(), Got()
    async with replicas(2, server.url, lock_ttl_s=2) as both, anyio.create_task_group() as tasks:
        await _one_after_the_other(tasks, both, question(), oracle, got, server)
        await anyio.sleep(3)
        oracle.gate.set()
    assert len(oracle.asked) == 1
    assert {answer_id for answer_id, _, _ in got} == {"ans_1"}


async def test_one_that_may_end_too_late_is_not_waited_for(server: RedisServer) -> None:
    """The holder has a minute; who has two seconds works alone, and is remembered."""
    oracle, got = Oracle(), Got()
    async with replicas(2, server.url) as both, anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, both[0], question(), oracle, got)
        await until(lambda: len(oracle.asked) == 1)
        await _ask(both[1], question(timeout_seconds=2.0), ready(), got)
        assert (got[0][1:], both[1].flights("alone")) == (("miss", 3600), 1)
        oracle.gate.set()


async def test_a_holder_that_breaks_its_word_is_not_waited_for(server: RedisServer) -> None:
    """It should have ended long ago, and holds its lease for another hour: the caller's second is all it gets."""
    lock = Names("demur").lock(question_digest(question(), "models"))
    server.client.set(lock, b"0123456789abcdef@0.000;", px=3_600_000)
    oracle, got = ready(), Got()
    async with replicas(1, server.url) as [one]:
        await _ask(one, question(timeout_seconds=1.0), oracle, got)
        assert one.flights("alone") == 1
    assert oracle.asked[0].timeout_seconds == 0.1


async def test_what_garbage_the_lock_holds_does_not_matter(server: RedisServer) -> None:
    """Nobody can say when that ends: work alone."""
    server.client.set(Names("demur").lock(question_digest(question(), "models")), b"\xff\x00", px=60_000)
    got = Got()
    async with replicas(1, server.url) as [one]:
        await _ask(one, question(), ready(), got)
    assert got == [("ans_1", "miss", 3600)]


async def test_tenants_neither_share_nor_wait(server: RedisServer) -> None:
    """One works on the question; the other tenant's is drawn at once."""
    oracle, got = Oracle(), Got()
    async with replicas(2, server.url) as both, anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, both[0], question(tenant="a"), oracle, got)
        await until(lambda: len(oracle.asked) == 1)
        await _ask(both[1], question(tenant="b"), ready(), got)
        assert got == [("ans_1", "miss", 3600)]
        oracle.gate.set()
