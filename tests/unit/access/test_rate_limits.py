"""A moving window per tenant: in this process, in Redis, and while Redis is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from demur.access import rate_limits as rate_limits_module
from demur.access.rate_limits import RateLimits, Standing, limit_headers, parse_rate, recorded_standings
from demur.errors import RateLimited, ValidationFailed
from demur.observability.metrics import Metrics
from demur.settings import AuthSettings
from demur.storage.redis_connection import close_redis, open_redis
from tests.redis_server import RedisServer, redis_cluster, redis_sentinel, redis_server

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@asynccontextmanager
async def _limits(
    requests: str = "off", samples: str = "off", url: str | None = None, metrics: Metrics | None = None
) -> AsyncIterator[RateLimits]:
    client = open_redis(url, timeout_seconds=5) if url else None
    settings = AuthSettings(rate_limit=requests, rate_limit_samples=samples)
    try:
        yield RateLimits(settings, metrics or Metrics(), redis=client)
    finally:
        if client is not None:
            await close_redis(client)


@pytest.fixture(params=["this process", "Redis"])
def url(request: pytest.FixtureRequest, redis: RedisServer) -> str | None:
    with redis.client() as client:
        client.flushall()
    return None if request.param == "this process" else redis.url


async def test_the_limit_is_exact_also_when_all_come_at_once(url: str | None) -> None:
    """Fifty at once, of which twenty may."""
    admitted = []
    async with _limits(requests="20/60s", url=url) as limits, anyio.create_task_group() as group:

        async def come() -> None:
            try:
                await limits.spend("web", "requests")
                admitted.append(1)
            except RateLimited:
                pass

        for _ in range(50):
            group.start_soon(come)
    assert len(admitted) == 20


async def test_hundreds_at_once_are_counted_together_not_alone(redis: RedisServer) -> None:
    """More at once than there may be connections: each waits its turn, and none is counted by this process alone."""
    metrics = Metrics()
    async with _limits(requests="1000/60s", url=redis.url, metrics=metrics) as limits:
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(limits.spend, "many", "requests")
        with recorded_standings() as noted:
            await limits.spend("many", "requests")
    assert noted["requests"].remaining == 1000 - 301
    assert metrics.registry.get_sample_value("demur_ratelimit_local") == 0


@pytest.mark.parametrize("reachable", [redis_cluster, redis_sentinel])
async def test_a_cluster_and_what_a_sentinel_names_count_as_well(reachable: Any, tmp_path: Path) -> None:
    """Exact there, too."""
    metrics = Metrics()
    with reachable(tmp_path) as found:
        async with _limits(requests="2/60s", url=found.url, metrics=metrics) as limits:
            await limits.spend("a", "requests")
            await limits.spend("a", "requests")
            with pytest.raises(RateLimited):
                await limits.spend("a", "requests")
            assert metrics.registry.get_sample_value("demur_ratelimit_local") == 0


async def test_tenants_and_limits_are_counted_apart(url: str | None) -> None:
    """What one used up, the other has; requests are not samples."""
    async with _limits(requests="1/60s", samples="10/60s", url=url) as limits:
        await limits.spend("a", "requests")
        await limits.spend("b", "requests")
        await limits.spend("a", "samples", 10)
        with pytest.raises(RateLimited, match="1 requests in 60 s; 0 are left"):
            await limits.spend("a", "requests")


async def test_samples_count_by_their_number_and_a_refusal_counts_nothing(url: str | None) -> None:
    """Of ten: seven, then four are refused, then three still fit."""
    async with _limits(samples="10/60s", url=url) as limits:
        await limits.spend("a", "samples", 7)
        with pytest.raises(RateLimited, match="3 are left") as refusal:
            await limits.spend("a", "samples", 4)
        assert 50 < (refusal.value.retry_after_seconds or 0) <= 60
        await limits.spend("a", "samples", 3)


async def test_what_can_never_fit_is_not_asked_to_try_again(url: str | None) -> None:
    """More in one request than the limit has in all: a wrong request, not a rate."""
    async with _limits(samples="10/60s", url=url) as limits:
        with pytest.raises(ValidationFailed, match="/sampling/n: 11 is over the 10"):
            await limits.spend("a", "samples", 11)


async def test_room_comes_back_as_the_window_moves(url: str | None) -> None:
    """Two a second: a third fits in once the first is a second old."""
    async with _limits(requests="2/1s", url=url) as limits:
        await limits.spend("a", "requests")
        await limits.spend("a", "requests")
        with anyio.fail_after(30):
            while True:
                try:
                    await limits.spend("a", "requests")
                    break
                except RateLimited as refusal:
                    await anyio.sleep((refusal.retry_after_seconds or 0) / 10)


async def test_off_means_off(url: str | None) -> None:
    """No limit, no headers."""
    with recorded_standings() as noted:
        async with _limits(url=url) as limits:
            for _ in range(100):
                await limits.spend("a", "requests")
    assert noted == {}


async def test_the_wait_is_for_the_entry_in_the_way(redis: RedisServer) -> None:
    """Eight of ten used long ago and two just now: five more fit when the old ones leave; nine, when the new do too."""
    with redis.client() as client:
        client.flushall()
    async with _limits(samples="10/60s", url=redis.url) as limits:
        await limits.spend("a", "samples", 8)
        with redis.client() as client:
            (key,) = client.scan_iter()
            assert key.startswith(b"demur:rl:")
            assert b"{a}" in key
            old = [float(entry) - 50 for entry in client.lrange(key, 0, -1)]
            client.delete(key)
            client.rpush(key, *old)
        await limits.spend("a", "samples", 2)
        with pytest.raises(RateLimited) as soon:
            await limits.spend("a", "samples", 5)
        with pytest.raises(RateLimited) as late:
            await limits.spend("a", "samples", 9)
    assert 1 <= (soon.value.retry_after_seconds or 0) <= 10
    assert 50 < (late.value.retry_after_seconds or 0) <= 60


async def test_while_redis_is_away_each_process_counts_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed: limited all the same, said in a metric and once in the log. Back: counted together again."""
    monkeypatch.setattr(rate_limits_module, "RETRY_REDIS_SECONDS", 0.05)
    metrics = Metrics()

    def is_local() -> float | None:
        return metrics.registry.get_sample_value("demur_ratelimit_local")

    with redis_server(tmp_path) as server, capture_logs() as logs:
        async with _limits(requests="3/60s", url=server.url, metrics=metrics) as limits:
            await limits.spend("a", "requests")
            assert is_local() == 0
            server.kill()
            for _ in range(3):
                await limits.spend("a", "requests")
            with pytest.raises(RateLimited):
                await limits.spend("a", "requests")
            assert is_local() == 1
            server.start()
            await _until_counted_together(limits, is_local)
    assert {entry["log_level"] for entry in logs} <= {"warning", "info"}
    assert sum(entry["log_level"] == "warning" for entry in logs) == 1


async def _until_counted_together(limits: RateLimits, is_local: Callable[[], float | None]) -> None:
    with anyio.fail_after(30):
        while is_local():
            try:
                await limits.spend("b", "requests")
            except RateLimited:
                await anyio.sleep(0.05)


def test_rates_are_read() -> None:
    """As the settings write them."""
    for text, amount, seconds in (("60/60s", 60, 60), ("5/2m", 5, 120), ("1/1h", 1, 3600), ("9/3d", 9, 259_200)):
        item = parse_rate(text)
        assert item is not None
        assert (item.amount, item.get_expiry()) == (amount, seconds)
    assert parse_rate("off") is None


@pytest.mark.parametrize("text", ["60", "0/60s", "60/0s", "60/60", "sixty/60s", "-1/60s", "60/60w", "", "1e3/1s"])
def test_a_wrong_rate_is_refused_with_the_settings(text: str) -> None:
    """Before the service starts."""
    with pytest.raises(ValueError, match="write a rate as 60/60s"):
        AuthSettings(rate_limit=text)


def test_headers_say_what_is_left() -> None:
    """The IETF draft's form, and the one of OpenAI's clients."""
    standings = [Standing("requests", 60, 60, 12, 30.2), Standing("samples", 600, 3600, 0, 0.0)]
    assert limit_headers(standings) == {
        "RateLimit-Policy": '"requests";q=60;w=60, "samples";q=600;w=3600',
        "RateLimit": '"requests";r=12;t=31, "samples";r=0;t=0',
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "12",
        "x-ratelimit-reset-requests": "31s",
        "x-ratelimit-limit-samples": "600",
        "x-ratelimit-remaining-samples": "0",
        "x-ratelimit-reset-samples": "0s",
    }
    assert limit_headers([]) == {}
