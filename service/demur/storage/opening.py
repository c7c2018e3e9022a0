"""The store that the settings name."""

from __future__ import annotations

import logging
from pathlib import Path

from demur.settings import StoreSettings
from demur.storage.base import Store
from demur.storage.redis_connection import is_redis
from demur.storage.sqlite import SqliteStore

logger = logging.getLogger(__name__)

_SQLITE = "sqlite:///"


async def open_store(settings: StoreSettings) -> Store:
    """Raises StoreUnavailable where a SQLite file cannot be used. Redis that is away is met later: it comes back."""
    url = settings.location
    if not is_redis(url):
        return await SqliteStore.open(Path(url.removeprefix(_SQLITE)))
    from demur.storage.redis import RedisStore

    store = RedisStore(
        url,
        prefix=settings.prefix,
        timeout_seconds=settings.timeout_s,
        assume_durable=settings.durability == "assumed",
    )
    health = await store.health()
    if health.state != "ok":
        logger.warning("answers are not stored until this is mended: %s", health.detail)
    return store
