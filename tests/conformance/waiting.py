"""Waiting for what happens elsewhere, and so sets no event here."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Raises TimeoutError where it does not come true in time."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)
