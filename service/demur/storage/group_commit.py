"""Writes that wait at the same time share one commit, and with it one sync of the disk, which takes the time."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
from anyio import to_thread

from demur.errors import StoreFull, StoreUnavailable
from demur.storage.circuit import Circuit
from demur.storage.sqlite_file import SqliteFile

T = TypeVar("T")

_MAX_TOGETHER = 64


class _Write(Generic[T]):
    """Waits, then is done with a result or an error; dropped where its caller has gone before."""

    def __init__(self, work: Callable[[sqlite3.Connection], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: Exception | None = None
        self.is_over = False

    def attempt(self, db: sqlite3.Connection) -> None:
        """Within a transaction, of which a failed attempt leaves nothing. May be repeated."""
        self._error = None
        db.execute("SAVEPOINT one")
        try:
            self._result = [self._work(db)]
        except sqlite3.Error:
            raise  # the file's trouble, and so everybody's
        except Exception as error:  # this caller's own
            self._error = error
            db.execute("ROLLBACK TO one")
        db.execute("RELEASE one")

    def fail(self, error: Exception) -> None:
        self._result, self._error = [], error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


class Turns:
    """Gives the file to one caller at a time, in a worker thread, and to writers all at once."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._turn = anyio.CapacityLimiter(1)
        self._waiting: deque[_Write[Any]] = deque()
        self._circuit = Circuit()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises: StoreUnavailable, and as `work`."""
        return await self.alone(lambda file: self._guarded(lambda: file.read(work)))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Durable when this returns. Raises: StoreUnavailable, StoreFull, and as `work`."""
        write = _Write(work)
        self._waiting.append(write)
        try:
            await to_thread.run_sync(self._commit, write, limiter=self._turn)
        finally:
            write.is_over = True  # a caller that was cancelled before its turn wants it no more
        return write.outcome()

    async def alone(self, work: Callable[[SqliteFile], T]) -> T:
        """The thread is not left alone when the caller is cancelled: the connection has one user at a time."""
        return await to_thread.run_sync(work, self._file, limiter=self._turn)

    def _commit(self, mine: _Write[Any]) -> None:
        """Until mine is done, which it may be already: with those that had their turn before."""
        while not mine.is_over:
            writes = self._next()
            try:
                self._commit_together(writes)
            finally:
                for write in writes:
                    write.is_over = True

    def _commit_together(self, writes: list[_Write[Any]]) -> None:
        """Where there is no room for all of them, there may be for some: a deletion needs none."""
        try:
            self._guarded(lambda: self._file.write(lambda db: _attempt(writes, db)))
        except Exception as error:  # nothing of it was committed
            if isinstance(error, StoreFull) and len(writes) > 1:
                for write in writes:
                    self._commit_together([write])
                return
            for write in writes:
                write.fail(error)

    def _next(self) -> list[_Write[Any]]:
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_TOGETHER))]
        return [write for write in taken if not write.is_over]

    def _guarded(self, work: Callable[[], T]) -> T:
        self._circuit.enter(str(self._file.path))
        try:
            result = work()
        except StoreUnavailable as error:
            if error.__cause__ is not None:  # the file system's or SQLite's doing, not a record that cannot be read
                self._circuit.fail()
            raise
        self._circuit.succeed()
        return result


def _attempt(writes: list[_Write[Any]], db: sqlite3.Connection) -> None:
    for write in writes:
        write.attempt(db)
