"""Writers that share a commit: each gets its own outcome."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from demur.errors import NotFound, StoreFull, StoreUnavailable
from demur.storage import sqlite_file
from demur.storage.group_commit import Turns
from demur.storage.sqlite_file import SqliteFile

pytestmark = pytest.mark.anyio

Work = Callable[[sqlite3.Connection], Any]

TABLE = ["CREATE TABLE numbers (n UNIQUE)"]


class CountedFile(SqliteFile):
    """Counts its transactions."""

    n_writes = 0

    def write(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        self.n_writes += 1
        return super().write(work)


@pytest.fixture
async def turns(tmp_path: Path) -> AsyncIterator[Turns]:
    found = Turns(CountedFile(tmp_path / "file", migrations=TABLE))
    yield found
    await found.alone(SqliteFile.close)


def _add(number: int) -> Work:
    def add(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO numbers VALUES (?)", (number,))
        if number < 0:
            raise NotFound(f"{number} was refused")
        return 10 * number

    return add


def _numbers(db: sqlite3.Connection) -> list[int]:
    return [n for (n,) in db.execute("SELECT n FROM numbers ORDER BY n")]


def _n_writes(file: SqliteFile) -> int:
    assert isinstance(file, CountedFile)
    return file.n_writes


async def _together(turns: Turns, numbers: list[int], work: Callable[[int], Work] = _add) -> dict[int, Any]:
    """What became of each, where all of them wait for the same turn."""
    outcomes: dict[int, Any] = {}
    is_held, go_on = threading.Event(), threading.Event()

    async def write(number: int) -> None:
        try:
            outcomes[number] = await turns.write(work(number))
        except (NotFound, StoreFull, StoreUnavailable) as error:
            outcomes[number] = error

    def hold(_: SqliteFile) -> None:
        is_held.set()
        go_on.wait(60)

    async with anyio.create_task_group() as group:
        group.start_soon(turns.alone, hold)
        await anyio.to_thread.run_sync(is_held.wait)
        for number in numbers:
            group.start_soon(write, number)
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    return outcomes


async def test_writers_that_wait_share_a_commit(turns: Turns) -> None:
    """50 writes, one transaction; each has its own result."""
    outcomes = await _together(turns, list(range(50)))
    assert outcomes == {n: 10 * n for n in range(50)}
    assert await turns.read(_numbers) == list(range(50))
    assert await turns.alone(_n_writes) == 1


async def test_one_that_fails_spoils_no_other(turns: Turns) -> None:
    """Its error is its own, and nothing of it is left."""
    outcomes = await _together(turns, [1, -1, 2, -2, 3])
    assert str(outcomes[-2]) == "-2 was refused"
    assert isinstance(outcomes[-1], NotFound)
    assert [outcomes[n] for n in (1, 2, 3)] == [10, 20, 30]
    assert await turns.read(_numbers) == [1, 2, 3]


async def test_one_that_finds_no_room_spoils_no_other(turns: Turns) -> None:
    """Only what does not fit is refused; with room it is taken."""

    def bulky(number: int) -> Work:
        return lambda db: db.execute("INSERT INTO numbers VALUES (zeroblob(?))", (number,)).rowcount

    await turns.alone(lambda file: file._connection.execute("PRAGMA max_page_count = 10").fetchone())
    outcomes = await _together(turns, [1, 2, 1_000_000, 3], bulky)
    assert isinstance(outcomes.pop(1_000_000), StoreFull)
    assert outcomes == {1: 1, 2: 1, 3: 1}
    await turns.alone(lambda file: file._connection.execute("PRAGMA max_page_count = 10000").fetchone())
    assert await _together(turns, [1_000_000], bulky) == {1_000_000: 1}


async def test_a_commit_that_fails_fails_all_of_its_writers(
    turns: Turns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told that a record is kept when it is not: the file is locked, then it is not."""
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
    impatient = Turns(SqliteFile(tmp_path / "file", migrations=TABLE))
    with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = await _together(impatient, [1, 2, 3])
        other.execute("ROLLBACK")
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes.values())
    assert await turns.read(_numbers) == []
    assert await _together(impatient, [7]) == {7: 70}
    await impatient.alone(SqliteFile.close)


async def test_a_writer_that_left_before_its_turn_writes_nothing(turns: Turns) -> None:
    """It was cancelled while it waited; the others are served."""
    is_held, go_on = threading.Event(), threading.Event()

    def hold(_: SqliteFile) -> None:
        is_held.set()
        go_on.wait(60)

    async with anyio.create_task_group() as group:
        group.start_soon(turns.alone, hold)
        await anyio.to_thread.run_sync(is_held.wait)
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(turns.write, _add(1))
            await anyio.wait_all_tasks_blocked()
            leaving.cancel_scope.cancel()
        group.start_soon(turns.write, _add(2))
        await anyio.wait_all_tasks_blocked()
        go_on.set()
    assert await turns.read(_numbers) == [2]


async def test_a_file_that_keeps_failing_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """A table that is not there, three times: then nobody waits for it until the pause is over."""
    turns = Turns(CountedFile(tmp_path / "file", migrations=TABLE))
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no such table"):
            await turns.write(lambda db: db.execute("INSERT INTO nowhere VALUES (1)") and None)
    with pytest.raises(StoreUnavailable, match="tried again in"):
        await turns.write(_add(1))
    await turns.alone(SqliteFile.close)
