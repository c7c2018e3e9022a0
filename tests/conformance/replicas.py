"""Answer caches as the replicas of a service have them, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from demur.caching.answer_cache import AnswerCache
from demur.caching.caches import open_caches
from demur.observability.metrics import Metrics
from demur.settings import StoreSettings

PATIENT = 10.0  # seconds that Redis may take on a busy machine


class Replica:
    """An answer cache, and what it counted."""

    def __init__(self, cache: AnswerCache, metrics: Metrics) -> None:
        self.cache = cache
        self.metrics = metrics

    def looked_up(self, result: str) -> float:
        return sum(self._count("demur_cache_requests_total", tier=tier, result=result) for tier in ("local", "shared"))

    def flights(self, result: str) -> float:
        return self._count("demur_singleflight_total", result=result)

    def _count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def replicas(
    n: int, url: str | None = None, *, fingerprint: str = "models", **store: object
) -> AsyncIterator[list[Replica]]:
    """`n` of them on one Redis; without a `url` each has its own memory. `store` changes the settings of that group."""
    settings = StoreSettings.model_validate(
        {"url": SecretStr(url) if url else None, "timeout_s": PATIENT, "lock_ttl_s": 30, **store}
    )
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(n):
            metrics = Metrics()
            caches = await stack.enter_async_context(open_caches(settings, metrics))
            opened.append(Replica(caches.answers(lambda: fingerprint, max_waiting=100), metrics))
        yield opened
