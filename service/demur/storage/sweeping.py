"""Forgets records by age, so that a store does not grow without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import anyio

from demur.errors import DemurError
from demur.observability.logging import logger
from demur.storage.base import Store

_PERIOD_SECONDS = 3600.0


@asynccontextmanager
async def sweeping(
    store: Store, *, max_age_seconds: int, period_seconds: float = _PERIOD_SECONDS
) -> AsyncIterator[None]:
    """While the block runs, sweep at its start and then every `period_seconds`."""
    async with anyio.create_task_group() as group:
        group.start_soon(_sweep_forever, store, max_age_seconds, period_seconds)
        yield
        group.cancel_scope.cancel()


async def _sweep_forever(store: Store, max_age_seconds: int, period_seconds: float) -> None:
    while True:
        try:
            n = await store.sweep(created_before=int(datetime.now(UTC).timestamp()) - max_age_seconds)
            logger.debug("old records swept", answers=n)
        except DemurError as error:  # swept the next time
            logger.warning("old records were not swept", reason=str(error))
        await anyio.sleep(period_seconds)
