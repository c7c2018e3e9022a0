"""Calls to Redis that either get an answer in time or raise one of our errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, TypeVar

import anyio
from redis.asyncio import RedisCluster
from redis.exceptions import ClusterDownError, OutOfMemoryError, RedisClusterException, RedisError, ResponseError

from demur.errors import DemurError, StoreFull, StoreUnavailable
from demur.storage.circuit import Circuit
from demur.storage.redis_connection import RedisClient, close_redis

T = TypeVar("T")

Command = tuple[str | bytes | int, ...]

_MAX_CONNECTIONS = 16  # each new one over TLS costs tens of milliseconds on the event loop
_PROMISE_SECONDS = 5.0
_HOLDS = {"appendonly": "yes", "appendfsync": "always", "no-appendfsync-on-rewrite": "no"}


class RedisCalls:
    """A client with its circuit, and its word on whether what it acknowledges is durable."""

    def __init__(self, client: RedisClient, name: str, *, assume_durable: bool) -> None:
        self.name = name
        self._client = client
        self._assume_durable = assume_durable
        self._places = anyio.CapacityLimiter(_MAX_CONNECTIONS)
        self._circuit = Circuit()
        self._problem: str | None = None
        self._known_until = 0.0

    async def one(self, *command: str | bytes | int) -> Any:
        return await self._run(lambda: self._client.execute_command(*command))

    async def each(self, commands: Sequence[Command]) -> list[Any]:
        """All of them in one round trip, in any order, without a transaction."""
        return await self._pipeline(commands, transaction=False) if commands else []

    async def in_order(self, commands: Sequence[Command]) -> list[Any]:
        """Durable writes: one after the other, so that a crash leaves the last ones undone.

        Raises StoreUnavailable, with nothing done, where durability is not promised.
        """
        await self.require_durable()
        return [await self.one(*command) for command in commands]

    async def together(self, commands: Sequence[Command]) -> list[Any]:
        """Durable writes: in one transaction where all keys are on one server, on a cluster as `in_order`."""
        if isinstance(self._client, RedisCluster):
            return await self.in_order(commands)
        await self.require_durable()
        return await self._pipeline(commands, transaction=True)

    async def require_durable(self) -> None:
        """Raises: StoreUnavailable. What Redis says of itself is believed for 5 s, and asked again after a failure."""
        problem = await self.durability_problem()
        if problem is not None:
            raise StoreUnavailable(problem, retry_after_seconds=_PROMISE_SECONDS)

    async def durability_problem(self) -> str | None:
        """Why what is acknowledged could be lost, in words; None: it is durable. Raises: StoreUnavailable."""
        if monotonic() >= self._known_until:
            self._problem = None if self._assume_durable else await self._ask_durability()
            self._known_until = monotonic() + _PROMISE_SECONDS
        return self._problem

    async def aclose(self) -> None:
        await close_redis(self._client)

    async def _pipeline(self, commands: Sequence[Command], *, transaction: bool) -> list[Any]:
        async def run() -> list[Any]:
            async with self._client.pipeline(transaction=transaction) as pipe:
                for command in commands:
                    pipe.execute_command(*command)  # type: ignore[no-untyped-call, unused-ignore]
                return await pipe.execute()

        return await self._run(run)

    async def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._places:
            self._circuit.enter(self.name)
            try:
                result = await call()
            except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
                raise self._judged(error) from error
            self._circuit.succeed()
            return result

    def _judged(self, error: Exception) -> DemurError:
        """An error that Redis answered shows that it is there; only silence opens the circuit."""
        self._known_until = 0.0
        if isinstance(error, ResponseError) and not isinstance(error, ClusterDownError):
            self._circuit.succeed()
            if isinstance(error, OutOfMemoryError) or "No space left" in str(error):
                return StoreFull(f"{self.name} is full: {error}")
            return StoreUnavailable(f"{self.name} refuses: {error}")
        self._circuit.fail()
        return StoreUnavailable(f"{self.name} is away: {error or type(error).__name__}")

    async def _ask_durability(self) -> str | None:
        try:
            replies = [await self._config(pattern) for pattern in ("*append*", "maxmemory-policy")]
        except StoreUnavailable as error:
            if isinstance(error.__cause__, ResponseError):  # CONFIG is forbidden, as on most managed Redis
                return (
                    f"{error}; whether records are durable is unknown (DEMUR_STORE__DURABILITY=assumed: take it as so)"
                )
            raise
        nodes = zip(*replies, strict=True)
        return next((problem for parts in nodes if (problem := _problem({**parts[0], **parts[1]}))), None)

    async def _config(self, pattern: str) -> list[dict[str, str]]:
        """One answer for each server that takes writes."""
        if isinstance(self._client, RedisCluster):
            cluster = self._client
            replies: dict[Any, Any] = await self._run(
                lambda: cluster.config_get(pattern, target_nodes=RedisCluster.PRIMARIES)
            )
            found = replies.values() if _is_by_node(replies) else [replies]
            return [_texts(each) for each in found]
        return [_texts(await self.one("CONFIG GET", pattern))]


def _problem(config: dict[str, str]) -> str | None:
    wrong = [f"{name} {config[name]}" for name, value in _HOLDS.items() if config.get(name, value) != value]
    if wrong:
        needed = ", ".join(f"{name} {value}" for name, value in _HOLDS.items())
        return f"Redis has {', '.join(wrong)}, so that a crash could lose records; set {needed}"
    policy = config.get("maxmemory-policy", "")
    if policy.startswith("allkeys"):
        return f"Redis has maxmemory-policy {policy}, which could take records; set noeviction or volatile-lru"
    return None


def _is_by_node(replies: dict[Any, Any]) -> bool:
    return any(isinstance(value, dict) for value in replies.values())


def _texts(reply: dict[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in reply.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
