"""A tier in Redis, shared by all replicas."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import anyio
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisClusterException, RedisError, ResponseError

from demur.caching.breaker import CircuitBreaker
from demur.caching.tier import TierName, TierUnavailable
from demur.observability.logging import logger
from demur.storage.redis_connection import RedisClient

T = TypeVar("T")

# Connections that caching opens at most. More would wait in Redis, which does one thing at a time.
_MAX_CONNECTIONS = 32
_FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)


class RedisTier:
    """No call takes longer than `timeout_seconds`. While Redis is away, calls fail at once but for one now and then."""

    name: TierName = "shared"

    def __init__(self, client: RedisClient, *, timeout_seconds: float, breaker: CircuitBreaker | None = None) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._breaker = breaker or CircuitBreaker()
        self._places = anyio.Semaphore(_MAX_CONNECTIONS)

    async def get(self, *names: str) -> list[bytes | None]:
        pipeline = self._pipeline()
        for name in names:
            pipeline.get(name)
        return cast("list[bytes | None]", await self._ask(pipeline.execute)) if names else []

    async def put(self, values: Mapping[str, bytes], ttl_seconds: float) -> None:
        pipeline = self._pipeline()
        for name, value in values.items():
            pipeline.set(name, value, px=max(1, int(1000 * ttl_seconds)))
        if values:
            await self._ask(pipeline.execute)

    async def forget(self, *names: str) -> None:
        pipeline = self._pipeline()
        for name in names:
            pipeline.delete(name)
        if names:
            await self._ask(pipeline.execute)

    async def acquire(self, name: str, token: bytes, ttl_seconds: float) -> RedisLease | None:
        lock = Lock(self._client, name, timeout=ttl_seconds, thread_local=False)
        lease = RedisLease(self, lock)
        try:
            is_mine = await self._ask(lambda: lock.acquire(blocking=False, token=token))
        except anyio.get_cancelled_exc_class():
            lock.local.token = token  # it may have been set, and nobody would renew or release it
            await lease.abandon(self._timeout_seconds)
            raise
        return lease if is_mine else None

    async def aclose(self) -> None:
        await self._client.aclose()

    def _pipeline(self) -> Any:
        """Plain, because names of one call may lie on different nodes of a cluster."""
        return self._client.pipeline(transaction=False)

    async def _ask(self, work: Callable[[], Awaitable[T]]) -> T:
        if not self._breaker.allows():
            raise TierUnavailable("Redis was away a moment ago")
        try:
            with anyio.fail_after(self._timeout_seconds):
                async with self._places:
                    result = await work()
        except LockError:  # an answer like any other
            self._breaker.succeed()
            raise
        except _FAILURES as error:
            self._count(error)
            raise TierUnavailable(type(error).__name__) from error
        self._breaker.succeed()
        return result

    def _count(self, error: Exception) -> None:
        """A refusal comes quickly and may concern one command only: it is no reason not to try the next one."""
        logger.warning("cache_unavailable", reason=type(error).__name__)  # its text may quote what was to be kept
        if isinstance(error, ResponseError):
            self._breaker.succeed()
        else:
            self._breaker.fail()


@dataclass(frozen=True, slots=True)
class RedisLease:
    tier: RedisTier
    lock: Lock

    async def renew(self) -> bool:
        try:
            return await self.tier._ask(lambda: self.lock.reacquire())
        except LockError:
            return False

    async def release(self) -> None:
        try:
            await self.tier._ask(self.lock.release)
        except LockError:
            return  # expired: it is nobody's, or another's

    async def abandon(self, seconds: float) -> None:
        """Release it although the caller has been cancelled."""
        with anyio.move_on_after(seconds, shield=True):
            try:
                await self.release()
            except TierUnavailable:
                return  # it expires by itself
