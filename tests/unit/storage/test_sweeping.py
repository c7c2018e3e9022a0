"""Old records are forgotten by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from demur.errors import NotFound, StoreUnavailable
from demur.storage.sqlite import SqliteStore
from demur.storage.sweeping import sweeping
from tests.records import record

pytestmark = pytest.mark.anyio


async def _is_kept(store: SqliteStore, answer_id: str) -> bool:
    try:
        await store.get_answer(answer_id)
    except NotFound:
        return False
    return True


async def test_records_over_their_age_are_forgotten_again_and_again(tmp_path: Path) -> None:
    """At once, and later ones in a later round; what is younger stays."""
    store = await SqliteStore.open(tmp_path / "s")
    now = int(datetime.now(UTC).timestamp())
    young = record(now)
    await store.add_answer(young)
    with anyio.fail_after(60):
        async with sweeping(store, max_age_seconds=3600, period_seconds=0.01):
            for _ in range(2):
                old = record(now - 3700)
                await store.add_answer(old)
                while await _is_kept(store, old.id):  # noqa: ASYNC110 - the sweep sets no event
                    await anyio.sleep(0.01)
    assert await _is_kept(store, young.id)
    await store.aclose()


async def test_a_store_that_is_away_is_swept_later(tmp_path: Path) -> None:
    """A sweep that fails ends neither the sweeping nor the service."""
    path = tmp_path / "folder" / "s"
    store = await SqliteStore.open(path)
    now = int(datetime.now(UTC).timestamp())
    with anyio.fail_after(60):
        async with sweeping(store, max_age_seconds=3600, period_seconds=0.01):
            path.parent.rename(tmp_path / "away")
            (tmp_path / "folder").touch()  # no folder can be made here
            await anyio.sleep(0.05)
            (tmp_path / "folder").unlink()
            (tmp_path / "away").rename(path.parent)
            old = record(now - 3700)
            while not await _adds(store, old.id, now - 3700):  # noqa: ASYNC110 - the circuit sets no event
                await anyio.sleep(0.05)
            while await _is_kept(store, old.id):  # noqa: ASYNC110 - the sweep sets no event
                await anyio.sleep(0.01)
    await store.aclose()


async def _adds(store: SqliteStore, answer_id: str, created: int) -> bool:
    try:
        await store.add_answer(record(created, id=answer_id))
    except StoreUnavailable:
        return False
    return True
