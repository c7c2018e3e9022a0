"""How many requests a key may send and how many samples it may have drawn, over a moving window.

Counted in Redis where that is the store, exactly across replicas (whose clocks must agree); else, and while Redis is
away, by each process for itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import anyio
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from demur.errors import FieldError, RateLimited, ValidationFailed
from demur.observability.logging import logger
from demur.observability.metrics import Metrics
from demur.settings import AuthSettings

if TYPE_CHECKING:
    from demur.storage.redis_connection import RedisClient

RETRY_REDIS_SECONDS = 5.0
MAX_CONNECTIONS = 16  # counting is quick: more would wait for Redis instead of for each other
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Counted = Literal["requests", "samples"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left of one limit. `reset_seconds`: until the oldest that counts no longer does."""

    name: Counted
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: float


_standings: ContextVar[dict[str, Standing]] = ContextVar("standings")


class RateLimits:
    """Counts per tenant. A refused request does not count."""

    def __init__(
        self, settings: AuthSettings, metrics: Metrics, *, redis: RedisClient | None = None, prefix: str = "demur"
    ) -> None:
        self._items = {
            name: item
            for name, item in (
                ("requests", parse_rate(settings.rate_limit)),
                ("samples", parse_rate(settings.rate_limit_samples)),
            )
            if item is not None
        }
        self._metrics = metrics
        self._local = MovingWindowRateLimiter(MemoryStorage())
        self._shared: MovingWindowRateLimiter | None = None
        self._away: tuple[type[Exception], ...] = ()
        if redis is not None:
            self._shared, self._away = _shared(redis, f"{prefix}:rl")
        self._redis_back_at = -math.inf
        self._is_alone = False
        self._lines = anyio.Semaphore(MAX_CONNECTIONS)

    async def spend(self, tenant: str, name: Counted, cost: int = 1, field: str = "/sampling/n") -> None:
        """Count `cost`, which stands in `field` of the request, if it is within the limit.

        Raises: RateLimited; ValidationFailed where the cost is more than the limit ever allows.
        """
        item = self._items.get(name)
        if item is None:
            return
        if cost > item.amount:
            raise ValidationFailed(FieldError(field, f"{cost} is over the {item.amount} that a key may draw"))
        if not await self._is_spent_together(item, tenant, name, cost):
            await self._spend(self._local, item, tenant, name, cost)

    async def _is_spent_together(self, item: RateLimitItem, tenant: str, name: Counted, cost: int) -> bool:
        """Whether Redis has counted it; while it is away nobody asks it, nor waits in line for it."""
        async with self._lines:
            if self._shared is None or monotonic() < self._redis_back_at:
                return False
            try:
                await self._spend(self._shared, item, tenant, name, cost)
            except self._away as error:
                self._count_alone(error)
                return False
            except RateLimited:
                self._count_together()
                raise
            self._count_together()
            return True

    async def _spend(
        self, counter: MovingWindowRateLimiter, item: RateLimitItem, tenant: str, name: Counted, cost: int
    ) -> None:
        key = (name, f"{{{tenant}}}")  # braces: one slot of a cluster per tenant
        is_within = await counter.hit(item, *key, cost=cost)
        resets_at, remaining = await counter.get_window_stats(item, *key)
        standing = Standing(name, item.amount, item.get_expiry(), max(0, remaining), _seconds_until(resets_at))
        if (noted := _standings.get(None)) is not None:
            noted[name] = standing
        if is_within:
            return
        self._metrics.rate_limited.labels(name).inc()
        message = f"this key may have {item.amount} {name} in {item.get_expiry()} s; {standing.remaining} are left"
        wait = await _seconds_until_room(counter, item, key, cost)
        raise RateLimited(message, retry_after_seconds=max(1.0, wait))

    def _count_alone(self, error: Exception) -> None:
        self._redis_back_at = monotonic() + RETRY_REDIS_SECONDS
        if not self._is_alone:
            logger.warning("rate limits are counted by each process alone", reason=type(error).__name__)
        self._is_alone = True
        self._metrics.rate_limit_local.set(1)

    def _count_together(self) -> None:
        if self._is_alone:
            logger.info("rate limits are counted by all processes together again")
        self._is_alone = False
        self._metrics.rate_limit_local.set(0)


def _shared(redis: RedisClient, prefix: str) -> tuple[MovingWindowRateLimiter, tuple[type[Exception], ...]]:
    """The counter in Redis, and what it raises where Redis cannot be asked. The import brings the client of Redis."""
    from demur.access.shared_window import AWAY, SharedWindow

    return MovingWindowRateLimiter(SharedWindow(redis, prefix)), AWAY


def parse_rate(text: str) -> RateLimitItem | None:
    """`60/60s` as the library has it; None for `off`. The form was checked with the settings."""
    if text == "off":
        return None
    amount, per = text.split("/")
    return RateLimitItemPerSecond(int(amount), int(per[:-1]) * _UNITS[per[-1]])


async def _seconds_until_room(
    counter: MovingWindowRateLimiter, item: RateLimitItem, key: tuple[str, ...], cost: int
) -> float:
    """Until `cost` fits in: on Redis when the entry that is in its way leaves the window, else when the oldest does."""
    storage: Any = counter.storage
    until_blocking = item.amount - cost + 1
    entered_at, _ = await storage.get_moving_window(item.key_for(*key), until_blocking, item.get_expiry())
    return _seconds_until(entered_at + item.get_expiry())


def _seconds_until(timestamp: float) -> float:
    return max(0.0, timestamp - datetime.now(UTC).timestamp())


@contextmanager
def recorded_standings() -> Iterator[dict[str, Standing]]:
    """Where `spend` notes the standings of the request that is being handled, for its response."""
    noted: dict[str, Standing] = {}
    token = _standings.set(noted)
    try:
        yield noted
    finally:
        _standings.reset(token)


def limit_headers(standings: Collection[Standing]) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` (IETF draft), and what OpenAI's clients read. Seconds."""
    if not standings:
        return {}
    headers = {
        "RateLimit-Policy": ", ".join(f'"{s.name}";q={s.limit};w={s.window_seconds}' for s in standings),
        "RateLimit": ", ".join(f'"{s.name}";r={s.remaining};t={math.ceil(s.reset_seconds)}' for s in standings),
    }
    for standing in standings:
        headers[f"x-ratelimit-limit-{standing.name}"] = str(standing.limit)
        headers[f"x-ratelimit-remaining-{standing.name}"] = str(standing.remaining)
        headers[f"x-ratelimit-reset-{standing.name}"] = f"{math.ceil(standing.reset_seconds)}s"
    return headers
