"""The store and the journal that the settings ask for."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from demur import __version__
from demur.errors import StoreUnavailable
from demur.observability.logging import logger
from demur.observability.metrics import Metrics
from demur.settings import Settings, StoreSettings
from demur.storage.base import Store
from demur.storage.journal import StoreJournal
from demur.storage.redis_connection import is_redis
from demur.storage.sqlite import SqliteStore

_SQLITE = "sqlite:///"


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncIterator[Store]:
    """Raises StoreUnavailable where the URL or a SQLite file cannot be used. Redis may be away: it comes back."""
    url = settings.location
    store: Store = _redis(settings) if is_redis(url) else await SqliteStore.open(Path(url.removeprefix(_SQLITE)))
    try:
        health = await store.health()
        if health.state != "ok":
            logger.warning("the store needs attention", state=health.state, reason=health.detail)
        yield store
    finally:
        await store.aclose()


def _redis(settings: StoreSettings) -> Store:
    """The import is here because only those who use Redis should wait for it."""
    from demur.storage.redis import RedisStore

    try:
        return RedisStore(
            settings.location,
            prefix=settings.prefix,
            timeout_seconds=settings.timeout_s,
            assume_durable=settings.durability == "assumed",
        )
    except ValueError as error:
        raise StoreUnavailable(f"DEMUR_STORE__URL cannot be understood: {error}") from error


def open_journal(store: Store, settings: Settings, metrics: Metrics) -> StoreJournal:
    return StoreJournal(
        store,
        metrics,
        profile=profile(settings),
        audit_rate=settings.audit.rate,
        keep_text=settings.store.text,
    )


def profile(settings: Settings) -> dict[str, str]:
    """What every answer's numbers depend on beside the question's own settings (estimates under another do not mix)."""
    template, clustering = settings.defaults.prompt_template_file, settings.clustering
    return {
        "demur": __version__,
        "sampler_backend": settings.sampler.backend,
        "sampler_revision": settings.sampler.revision or "",
        "nli_backend": settings.nli.backend,
        "nli_revision": settings.nli.revision or "",
        "nli_max_length": str(settings.nli.max_length),
        "clustering": f"{clustering.rule}, {'with' if clustering.include_prompt else 'without'} prompt",
        "template": hashlib.sha256(template.read_bytes()).hexdigest()[:12] if template else "default",
    }
