"""Answers on their way into the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from demur.observability.metrics import Metrics
from demur.storage.journal import StoreJournal
from demur.storage.sqlite import SqliteStore
from tests.unit.calibration.profiles import KEY
from tests.unit.storage.test_records import _answer

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await SqliteStore.open(tmp_path / "folder" / "s")
    yield found
    await found.aclose()


def _journal(store: SqliteStore, metrics: Metrics, audit_rate: float = 0.0) -> StoreJournal:
    return StoreJournal(store, metrics, profile={"rule": "strict"}, audit_rate=audit_rate, keep_text=False)


def _count(metrics: Metrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("demur_store_writes_total", {"record": "answer", "outcome": outcome}) or 0


async def test_a_recorded_answer_is_in_the_store(store: SqliteStore) -> None:
    """With the profile of the service, and counted."""
    metrics = Metrics()
    assert await _journal(store, metrics).record(_answer(), KEY, is_audit=False)
    assert (await store.get_answer("ans_1")).profile == {"rule": "strict"}
    assert _count(metrics, "ok") == 1


async def test_a_failing_store_is_told_of_once_and_so_is_its_return(store: SqliteStore, tmp_path: Path) -> None:
    """Ten answers meanwhile: each counted and none kept, one line in the log."""
    metrics = Metrics()
    journal = _journal(store, metrics)
    with capture_logs() as logs:
        (tmp_path / "folder").rename(tmp_path / "away")
        (tmp_path / "folder").touch()  # no folder can be made here
        assert not any([await journal.record(_answer(), KEY, is_audit=False) for _ in range(10)])
        (tmp_path / "folder").unlink()
        (tmp_path / "away").rename(tmp_path / "folder")
        with anyio.fail_after(60):
            while not await journal.record(_answer(), KEY, is_audit=False):  # noqa: ASYNC110 - the circuit sets no event
                await anyio.sleep(0.05)
    assert _count(metrics, "store-unavailable") >= 10
    assert _count(metrics, "ok") == 1
    told = [entry["event"] for entry in logs if entry["event"].startswith("answers are")]
    assert told == ["answers are not stored", "answers are stored again"]


@pytest.mark.parametrize(("rate", "drawn"), [(0.0, 0), (1.0, 100)])
async def test_none_or_all_are_drawn_at_the_ends(store: SqliteStore, rate: float, drawn: int) -> None:
    journal = _journal(store, Metrics(), rate)
    assert sum(journal.draws_audit() for _ in range(100)) == drawn
