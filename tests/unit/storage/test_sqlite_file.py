"""The SQLite file: made, upgraded, refused; locked, removed, full. With real files, processes and file systems."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demur.errors import StoreFull, StoreUnavailable
from demur.storage import sqlite_file
from demur.storage.base import Store
from demur.storage.sqlite import SqliteStore
from demur.storage.sqlite_file import MIGRATIONS, SqliteFile
from tests.records import record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "demur.sqlite3"


def _version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(found)


def _tables(file: SqliteFile) -> set[str]:
    return {name for (name,) in file.read(lambda db: db.execute("SELECT name FROM sqlite_master").fetchall())}


def test_a_missing_file_is_made_with_its_folder_for_its_owner_only(path: Path) -> None:
    """And every commit reaches the disk: WAL, synchronous FULL."""
    file = SqliteFile(path)
    assert file.check() is None
    assert file.read(lambda db: db.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    assert file.read(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    file.close()
    assert _version(path) == len(MIGRATIONS)


def test_an_old_file_is_upgraded_and_keeps_its_rows(path: Path) -> None:
    """From version 1 to 3, step by step; the second time nothing is left to do."""
    steps = ["CREATE TABLE a (x); INSERT INTO a VALUES (7)", "ALTER TABLE a ADD y DEFAULT 5", "CREATE TABLE b (z);"]
    SqliteFile(path, migrations=steps[:1]).close()
    for _ in range(2):
        file = SqliteFile(path, migrations=steps)
        assert file.read(lambda db: db.execute("SELECT x, y FROM a").fetchall()) == [(7, 5)]
        assert "b" in _tables(file)
        file.close()
    assert _version(path) == 3


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """All steps or none."""
    SqliteFile(path, migrations=["CREATE TABLE a (x)"]).close()
    with pytest.raises(StoreUnavailable, match="no such table"):
        SqliteFile(path, migrations=["", "CREATE TABLE b (x)", "INSERT INTO nowhere VALUES (1)"])
    assert _version(path) == 1
    file = SqliteFile(path, migrations=["CREATE TABLE a (x)"])
    assert _tables(file) == {"a"}
    file.close()


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    """With the two versions in words."""
    SqliteFile(path, migrations=[*MIGRATIONS, "CREATE TABLE later (x)"]).close()
    before = path.read_bytes()
    with pytest.raises(
        StoreUnavailable, match=rf"newer Demur.*schema is {len(MIGRATIONS) + 1}.*knows {len(MIGRATIONS)}.*update Demur"
    ):
        SqliteFile(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    """Nothing is added to it."""
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreUnavailable, match="another program"):
        SqliteFile(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteFile(path)
    assert path.read_text().startswith("dear diary")


def test_a_folder_where_the_file_should_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=str(tmp_path)):
        SqliteFile(tmp_path)


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"Not a directory|File exists"):
        SqliteFile(tmp_path / "file" / "demur.sqlite3")


def test_processes_that_start_together_make_one_file(path: Path) -> None:
    """Six at once on a file that is not there."""
    code = "import sys; from pathlib import Path; from demur.storage.sqlite_file import SqliteFile\n"
    code += "file = SqliteFile(Path(sys.argv[1])); print(file.check())"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in started] == ["None"] * 6
    assert [process.returncode for process in started] == [0] * 6


def test_a_writer_waits_for_another_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to its patience, then the lock is named; afterwards everything works."""
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.1)
    file = SqliteFile(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        file.write(lambda db: None)
    other.execute("ROLLBACK")
    other.close()
    file.write(lambda db: None)
    file.close()


def test_work_that_fails_leaves_nothing(path: Path) -> None:
    """Its error is passed on, and the next transaction is a new one."""
    file = SqliteFile(path, migrations=["CREATE TABLE a (x UNIQUE)"])

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO a VALUES (1)")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        file.write(half)
    assert file.read(lambda db: db.execute("SELECT count(*) FROM a").fetchone()) == (0,)
    file.close()


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_file_that_was_taken_away_is_left(path: Path, how: str) -> None:
    """Nothing is acknowledged that would be in a file without a name; what is there now is used."""
    store = await SqliteStore.open(path)
    before, after = record(), record()
    await store.add_answer(before)
    if how == "replaced":
        other = await SqliteStore.open(path.with_name("other"))
        await other.aclose()
        path.with_name("other").replace(path)
    for left in path.parent.iterdir():
        if how == "removed" or left.name != path.name:
            left.unlink()
    await store.add_answer(after)
    fresh = await SqliteStore.open(path)
    assert await fresh.get_answer(after.id) == after
    for each in (store, fresh):
        await each.aclose()


@pytest.mark.anyio
async def test_a_full_disk_is_said_and_left_when_there_is_room(small_disk: Path) -> None:
    """StoreFull; what was kept before is still there, deleting works, and with room records are kept again."""
    filler = small_disk / "filler"
    store = await SqliteStore.open(small_disk / "demur.sqlite3")
    first = record()
    await store.add_answer(first)
    with pytest.raises(OSError, match="No space"):
        _fill(filler)
    with pytest.raises(StoreFull, match=r"demur\.sqlite3"):
        await _fill_up(store)
    assert await store.get_answer(first.id) == first
    assert (await store.health()).state == "filling"
    filler.unlink()
    last = record()
    await store.add_answer(last)
    assert await store.get_answer(last.id) == last
    await store.aclose()


@pytest.mark.anyio
async def test_a_database_that_may_not_grow_is_full(path: Path) -> None:
    """SQLite's own bound, which answers as a full disk does."""
    store = await SqliteStore.open(path)
    store._turns._file._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreFull):
        await _fill_up(store)
    await store.aclose()


def _fill(path: Path) -> None:
    with path.open("wb") as file:
        while True:
            os.write(file.fileno(), b"x" * 4096)


async def _fill_up(store: Store) -> None:
    for _ in range(100):
        await store.add_answer(record())


def test_opening_a_file_again_leaves_the_locks_of_this_process_alone(path: Path) -> None:
    """POSIX locks belong to the process: to close the file anywhere in it drops them all. Another process would then
    take itself for the last one, and remove the log that this one still writes to."""
    first, second = SqliteFile(path), SqliteFile(path)
    visit = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version'); c.close()"
    subprocess.run([sys.executable, "-c", visit, str(path)], check=True)
    assert path.with_name(f"{path.name}-wal").exists()
    first.write(lambda db: db.execute("CREATE TABLE kept (x)"))
    assert "kept" in _tables(second)
    first.close()
    second.close()
