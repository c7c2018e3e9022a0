"""Builds what is remembered and shared, from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from demur.caching.answer_cache import AnswerCache
from demur.caching.in_process import InProcessTier
from demur.caching.names import Names
from demur.caching.relay import Keeper, Relay
from demur.caching.shared_pairs import SharedPairs
from demur.caching.shelf import Shelf
from demur.caching.single_flight import SingleFlight
from demur.caching.tier import SharedTier, Tier
from demur.errors import StoreUnavailable
from demur.observability.metrics import Metrics
from demur.settings import StoreSettings
from demur.storage.redis_connection import is_redis, open_redis


class Caches:
    """Answers are remembered in Redis where there is one, else in this process; verdicts in both."""

    def __init__(
        self, settings: StoreSettings, metrics: Metrics, tasks: TaskGroup, tier: Tier, shared: SharedTier | None
    ) -> None:
        """`shared` is the tier that replicas agree through, None for one process alone."""
        self._settings = settings
        self._metrics = metrics
        self._tasks = tasks
        self._tier = tier
        self._shared = shared
        self._names = Names(settings.prefix)

    def answers(self, fingerprint: Callable[[], str], *, max_waiting: int) -> AnswerCache:
        """`fingerprint` stands for all that makes an answer, beside its question; asked for with each question."""
        shelf = Shelf(self._tier, self._names, self._metrics)
        return AnswerCache(
            shelf,
            self._relay(shelf, self._shared) if self._shared else Keeper(shelf, self._metrics),
            SingleFlight(self._tasks, self._metrics, max_waiting=max_waiting),
            self._metrics,
            fingerprint=fingerprint,
            ttl_seconds=self._settings.cache_ttl_s,
        )

    def pairs(self, model: str) -> SharedPairs | None:
        """`model` stands for the NLI model and its settings. None where there is nobody to share with."""
        ttl = self._settings.pair_ttl_s
        if not self._shared or not ttl:
            return None
        return SharedPairs(self._shared, self._names, self._metrics, self._tasks, model=model, ttl_seconds=ttl)

    def _relay(self, shelf: Shelf, tier: SharedTier) -> Relay:
        return Relay(shelf, tier, self._names, self._metrics, lease_seconds=self._settings.lock_ttl_s)


@asynccontextmanager
async def open_caches(settings: StoreSettings, metrics: Metrics) -> AsyncIterator[Caches]:
    """Nothing is sent yet: a Redis that is away keeps nobody from starting. Raises StoreUnavailable for a bad URL."""
    async with AsyncExitStack() as stack:
        shared = _shared_tier(settings)
        tier = shared or InProcessTier(max_entries=settings.cache_entries, max_bytes=settings.cache_bytes)
        stack.push_async_callback(tier.aclose)
        tasks = await stack.enter_async_context(_background())
        yield Caches(settings, metrics, tasks, tier, shared)


def _shared_tier(settings: StoreSettings) -> SharedTier | None:
    url = settings.url.get_secret_value() if settings.url else ""
    if not is_redis(url):
        return None
    try:
        client = open_redis(url, timeout_seconds=settings.timeout_s)
    except ValueError as error:
        raise StoreUnavailable(f"DEMUR_STORE__URL cannot be used: {error}") from error
    from demur.caching.redis_tier import RedisTier  # which brings the client of Redis

    return RedisTier(client, timeout_seconds=settings.timeout_s)


@asynccontextmanager
async def _background() -> AsyncIterator[TaskGroup]:
    """Tasks that end with the block; what the block raises is not wrapped."""
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        try:
            yield tasks
        except Exception as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
