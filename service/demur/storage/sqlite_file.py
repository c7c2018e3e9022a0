"""One SQLite file, opened so that a commit is durable, with a known schema and errors that say what is wrong."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from demur.errors import DemurError, StoreFull, StoreUnavailable

logger = logging.getLogger(__name__)

T = TypeVar("T")

APPLICATION_ID = 0x44454D52  # "DEMR", by which `file` and we know the file
_BUSY_SECONDS = 5.0
_NONE = (-1, -1)

# Each step takes the file from the version of its place to the next. A step is never changed once it was released.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE answers (
        id TEXT PRIMARY KEY, tenant TEXT NOT NULL, place TEXT NOT NULL, is_audit INTEGER NOT NULL, record TEXT NOT NULL
    );
    CREATE INDEX answers_by_place ON answers (place);
    CREATE INDEX audits_by_place ON answers (place) WHERE is_audit;
    CREATE TABLE feedback (
        answer_id TEXT NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
        source TEXT NOT NULL, key TEXT NOT NULL, place TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (answer_id, source, key)
    );
    CREATE INDEX feedback_by_place ON feedback (place);
    CREATE TABLE calibrations (
        id TEXT PRIMARY KEY, profile_key TEXT NOT NULL, place TEXT NOT NULL, record TEXT NOT NULL
    );
    CREATE INDEX calibrations_by_place ON calibrations (place);
    CREATE TABLE active_calibrations (
        profile_key TEXT PRIMARY KEY, calibration_id TEXT NOT NULL REFERENCES calibrations (id)
    );
    CREATE TABLE idempotency (
        scope TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, holder TEXT, response BLOB,
        expires REAL NOT NULL, PRIMARY KEY (scope, key)
    );
    CREATE INDEX idempotency_by_expiry ON idempotency (expires);
    """,
    """
    CREATE TABLE suspensions (
        calibration_id TEXT NOT NULL, scope TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (calibration_id, scope)
    );
    """,
)


class SqliteFile:
    """A connection for one thread at a time; several processes may share the file. Every method blocks."""

    def __init__(self, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
        """Open the file, made with its folder where it is missing. Raises: StoreUnavailable, StoreFull."""
        self.path = path.expanduser().absolute()
        self._migrations = migrations
        self._connection = self._open()
        self._identity = self._found_identity()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`, which sees the file at one moment. Raises: StoreUnavailable, and as `work`."""
        return self._run(work, "BEGIN")

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` whole or not at all, durably. Raises: StoreUnavailable, StoreFull, and as `work`."""
        return self._run(work, "BEGIN IMMEDIATE")  # waits its turn here, where waiting is possible

    def _run(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with translated(self.path):
            self._follow_the_path()
            with _transaction(self._connection, begin):
                return work(self._connection)

    def check(self) -> str | None:
        """What keeps a commit from being durable; None: nothing does. Raises: StoreUnavailable."""
        with translated(self.path):
            self._follow_the_path()
            (mode,) = self._connection.execute("PRAGMA journal_mode").fetchone()
            (synchronous,) = self._connection.execute("PRAGMA synchronous").fetchone()
        if (mode, synchronous) != ("wal", 2):
            return f"{self.path} has journal_mode {mode} and synchronous {synchronous}; it needs wal and 2"
        return None

    def free_bytes(self) -> int:
        """Left on its disk. Raises: StoreUnavailable."""
        with translated(self.path):
            return shutil.disk_usage(self.path.parent).free

    def close(self) -> None:
        self._connection.close()

    def _follow_the_path(self) -> None:
        """A file that was removed or replaced still takes writes, which nobody would ever find: leave it."""
        if self._found_identity() != self._identity:
            logger.warning("the store %s was removed or replaced; opening what is there now", self.path)
            self._connection.close()
            self._identity = _NONE  # tried again with the next call where this one fails
            self._connection = self._open()
            self._identity = self._found_identity()

    def _found_identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _open(self) -> sqlite3.Connection:
        with translated(self.path):
            _make(self.path)
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                connection.executescript(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                    "PRAGMA secure_delete = ON;"  # what was deleted is overwritten
                )
                self._migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """In one transaction, so that processes that start together do it once."""
        with _transaction(connection, "BEGIN IMMEDIATE"):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application != APPLICATION_ID and (application or n_tables):
                raise StoreUnavailable(f"{self.path} is a database of another program; set DEMUR_STORE__URL to another")
            if version > len(self._migrations):
                known = f"its schema is {version}, this version knows {len(self._migrations)}"
                raise StoreUnavailable(f"{self.path} was written by a newer Demur ({known}): update Demur")
            for step in self._migrations[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(self._migrations)}")


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors as ours. ValueErrors of ours pass."""
    try:
        yield
    except DemurError:
        raise
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise _judged(error, path) from error
    except OSError as error:
        raise StoreUnavailable(f"cannot use the store {path}: {error}") from error


def _judged(error: sqlite3.Error, path: Path) -> DemurError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no room is left for the store {path}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(f"the store {path} has been locked by another process for {_BUSY_SECONDS:g} s")
    return StoreUnavailable(f"cannot use the store {path}: {error}")


def _make(path: Path) -> None:
    """The folder and the file, for the owner's eyes only, so that both are still there after a crash."""
    new = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):  # one that is there is left alone: closing it would drop SQLite's locks on it
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    for folder in [path.parent, *(folder.parent for folder in new)]:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
