"""Forgets records by age, so that a store does not grow without end."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio

from demur.errors import DemurError
from demur.observability.logging import logger
from demur.storage.base import Store

_PERIOD_SECONDS = 3600.0


async def sweep_forever(store: Store, *, max_age_seconds: int, period_seconds: float = _PERIOD_SECONDS) -> None:
    """Sweep now and then every `period_seconds`, until cancelled; a store that is away is swept the next time."""
    while True:
        try:
            n = await store.sweep(created_before=int(datetime.now(UTC).timestamp()) - max_age_seconds)
        except DemurError as error:
            logger.warning("old records were not swept", reason=str(error))
        else:
            logger.info("old records swept", answers=n)
        await anyio.sleep(period_seconds)
