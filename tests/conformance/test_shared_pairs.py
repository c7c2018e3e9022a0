"""Verdicts shared by replicas through a real Redis, behind the memory of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from demur.caching.caches import open_caches
from demur.caching.shared_pairs import _bytes, _verdict
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.observability.metrics import Metrics
from demur.settings import StoreSettings
from demur.types import Pair, Verdict
from tests.conformance.redis_server import RedisServer, redis_server
from tests.conformance.waiting import until
from tests.service.running import SameText
from tests.unit.entailment.classifiers import pair

A, B, C = pair("a", "x"), pair("b", "x"), pair("x", "x y")


@pytest.fixture(scope="module")
def running() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def server(running: RedisServer) -> RedisServer:
    running.client.flushall()
    return running


@dataclass
class Replica:
    memo: PairMemo
    metrics: Metrics

    async def ask(self, *pairs: Pair, tenant: str = "anonymous") -> tuple[int, int]:
        """How many were asked of the model, and how many were known."""
        tally = PairTally(self.memo, tenant)
        assert await tally.label(pairs) == await SameText().label(pairs)
        return tally.n_model, tally.n_cached

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("demur_nli_shared_pairs_total", {"result": result}) or 0.0


@asynccontextmanager
async def _replicas(server: RedisServer, n: int = 2, **store: object) -> AsyncIterator[list[Replica]]:
    settings = StoreSettings.model_validate({"url": SecretStr(server.url), "timeout_s": 10, **store})
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(n):
            metrics = Metrics()
            caches = await stack.enter_async_context(open_caches(settings, metrics))
            opened.append(Replica(PairMemo(SameText(), metrics, shared=caches.pairs("nli")), metrics))
        yield opened


def _n_kept(server: RedisServer) -> int:
    return len(server.client.keys("demur:nli:*"))


@pytest.mark.anyio
async def test_what_one_asked_the_other_knows(server: RedisServer) -> None:
    """To the last bit, and counted as cached; what is new is asked and shared in turn."""
    async with _replicas(server) as [one, other]:
        assert await one.ask(A, B) == (2, 0)
        await until(lambda: _n_kept(server) == 2)
        assert await other.ask(A, B, C) == (1, 2)
        await until(lambda: _n_kept(server) == 3)
        assert await one.ask(C) == (0, 1)
        assert (other.count("hit"), other.count("miss"), one.count("miss")) == (2, 1, 2)


@pytest.mark.anyio
async def test_the_process_comes_first(server: RedisServer) -> None:
    """What it remembers is not looked up in Redis again."""
    async with _replicas(server, 1) as [one]:
        await one.ask(A)
        await until(lambda: _n_kept(server) == 1)
        server.client.flushall()
        assert await one.ask(A) == (0, 1)
        assert one.count("hit") == 0


@pytest.mark.anyio
async def test_tenants_share_nothing(server: RedisServer) -> None:
    """Neither in the process nor in Redis: each asks the model, once."""
    async with _replicas(server) as [one, other]:
        assert await one.ask(A, tenant="a") == (1, 0)
        await until(lambda: _n_kept(server) == 1)
        assert await one.ask(A, tenant="b") == (1, 0)
        await until(lambda: _n_kept(server) == 2)
        assert await other.ask(A, tenant="c") == (1, 0)
        assert await other.ask(A, tenant="a") == (0, 1)


@pytest.mark.anyio
async def test_no_text_reaches_redis_and_verdicts_expire(server: RedisServer) -> None:
    async with _replicas(server, 1, pair_ttl_s=100) as [one]:
        await one.ask(pair("Rosebud", "Xanadu", "What did Kane say?"))
        await until(lambda: _n_kept(server) == 1)
    [name] = server.client.keys("*")
    told = name + server.client.get(name)
    assert not any(word in told for word in (b"Rosebud", b"Xanadu", b"Kane"))
    assert 0 < server.client.ttl(name) <= 100


@pytest.mark.anyio
async def test_a_time_to_live_of_zero_switches_it_off(server: RedisServer) -> None:
    async with _replicas(server, pair_ttl_s=0) as [one, other]:
        assert (await one.ask(A), await other.ask(A)) == ((1, 0), (1, 0))
    assert server.client.dbsize() == 0


@pytest.mark.anyio
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"1" + b"\xff" * 25, b"0" + bytes(25), b"1" + bytes(25)])
async def test_garbage_is_asked_again(server: RedisServer, garbage: bytes) -> None:
    """Counted, and replaced."""
    async with _replicas(server, 1) as [one]:
        await one.ask(A)
        await until(lambda: _n_kept(server) == 1)
    [name] = server.client.keys("*")
    server.client.set(name, garbage)
    async with _replicas(server, 1) as [one]:
        assert await one.ask(A) == (1, 0)
        assert one.count("error") == 1
        await until(lambda: server.client.get(name) != garbage)


@pytest.mark.anyio
async def test_without_redis_the_model_is_asked(server: RedisServer) -> None:
    """The process still remembers; when Redis is back, so does it."""
    async with _replicas(server, 1, timeout_s=1) as [one]:
        server.pause()
        try:
            assert await one.ask(A) == (1, 0)
            assert await one.ask(A, B) == (1, 1)
        finally:
            server.resume()
        assert one.count("error") >= 2


shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda two: sum(two) <= 1)


@given(shares, st.booleans())
def test_every_verdict_comes_back_to_the_last_bit(two: tuple[float, float], is_truncated: bool) -> None:
    verdict = Verdict(two[0], two[1], 1 - two[0] - two[1], is_truncated)
    if verdict.contradiction >= 0:
        assert _verdict(_bytes(verdict)) == verdict


@given(st.binary(max_size=40))
def test_no_bytes_raise(data: bytes) -> None:
    """What is no verdict is None."""
    verdict = _verdict(data)
    assert verdict is None or abs(verdict.entailment + verdict.neutral + verdict.contradiction - 1) < 1e-2
