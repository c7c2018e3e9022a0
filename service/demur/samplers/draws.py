"""Draws under way side by side: how they are stopped, and which of their failures is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import anyio

from demur.errors import DemurError, InvalidRequest, Unavailable


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and wait, whatever cancels the waiting: the work behind them has stopped when this returns."""
    pending = list(tasks)
    for task in pending:
        task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.gather(*pending, return_exceptions=True)


def graver(known: DemurError, new: DemurError) -> DemurError:
    """The one that tells the caller most: what they can mend, then what passes, then the rest."""
    return max(new, known, key=_gravity)


def _gravity(error: DemurError) -> int:
    ranks = (InvalidRequest, Unavailable)
    return sum(isinstance(error, rank) * (len(ranks) - place) for place, rank in enumerate(ranks))
