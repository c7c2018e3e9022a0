"""Records in one SQLite file: the store of a single machine, which needs nothing else."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from anyio import to_thread

from demur.errors import DemurError, IdempotencyMismatch, NotFound
from demur.storage.base import Health, InProgress, Page, Replay, Started, place
from demur.storage.codec import ANSWERS, CALIBRATIONS, FEEDBACK, SUSPENSIONS
from demur.storage.group_commit import Turns
from demur.storage.records import AnswerRecord, Calibration, Feedback, LabelledAnswer, Suspension
from demur.storage.sqlite_file import SqliteFile

T = TypeVar("T")
Rows = list[tuple[str, str]]

_SWEEP_BATCH = 500
_LOW_BYTES = 32 * 2**20
_ADD_ANSWER = "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
_ADD_AUDIT = (
    "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET is_audit = 1, record = excluded.record"
)


class SqliteStore:
    """Every call is one transaction, or one step of a transaction that is shared with others."""

    def __init__(self, file: SqliteFile) -> None:
        self.name = str(file.path)
        self._turns = Turns(file)

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """The store in the file `path`, made where it is missing. Raises: StoreUnavailable, StoreFull."""
        return cls(await to_thread.run_sync(SqliteFile, path))

    async def add_answer(self, record: AnswerRecord) -> None:
        text = ANSWERS.encode(record)
        row = (record.id, record.tenant, place(record.created, record.id), record.is_audit, text)
        await self._change(_ADD_AUDIT if record.is_audit else _ADD_ANSWER, row)

    async def get_answer(self, answer_id: str, *, tenant: str | None = None) -> AnswerRecord:
        return await self._turns.read(lambda db: _answer(db, answer_id, tenant))

    async def delete_answer(self, answer_id: str, *, tenant: str | None = None) -> None:
        def delete(db: sqlite3.Connection) -> None:
            _answer(db, answer_id, tenant)
            db.execute("DELETE FROM answers WHERE id = ?", (answer_id,))

        await self._turns.write(delete)

    async def add_feedback(self, feedback: Feedback, *, tenant: str | None = None) -> None:
        def add(db: sqlite3.Connection) -> None:
            record = _answer(db, feedback.answer_id, tenant)
            at = place(record.created, record.id, feedback.source, feedback.key)
            row = (record.id, feedback.source, feedback.key, at, FEEDBACK.encode(feedback))
            db.execute("INSERT OR REPLACE INTO feedback VALUES (?, ?, ?, ?, ?)", row)

        await self._turns.write(add)

    async def list_feedback(self, *, after: str | None = None, limit: int = 100) -> Page[Feedback]:
        query = "SELECT place, record FROM feedback WHERE place < ? ORDER BY place DESC LIMIT ?"
        return _page(await self._turns.read(lambda db: _rows(db, query, after, limit)), limit, FEEDBACK.decode)

    async def list_audits(self, *, after: str | None = None, limit: int = 100) -> Page[LabelledAnswer]:
        def read(db: sqlite3.Connection) -> list[tuple[str, LabelledAnswer]]:
            query = "SELECT place, record FROM answers WHERE is_audit AND place < ? ORDER BY place DESC LIMIT ?"
            return [(at, _labelled(db, text)) for at, text in _rows(db, query, after, limit)]

        return _page(await self._turns.read(read), limit, lambda labelled: labelled)

    async def sweep(self, *, created_before: int) -> int:
        await self._change("DELETE FROM idempotency WHERE expires <= ?", (_now(),))
        query = "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE place < ? ORDER BY place LIMIT ?)"
        n_forgotten = 0
        while n := await self._change(query, (place(created_before), _SWEEP_BATCH)):
            n_forgotten += n
        return n_forgotten

    async def add_calibration(self, calibration: Calibration) -> None:
        at = place(calibration.created, calibration.id)
        row = (calibration.id, calibration.profile_key, at, CALIBRATIONS.encode(calibration))
        if not await self._change("INSERT INTO calibrations VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING", row):
            raise ValueError(f"there is a calibration {calibration.id} already")

    async def get_calibration(self, calibration_id: str) -> Calibration:
        return await self._turns.read(lambda db: _calibration(db, calibration_id))

    async def list_calibrations(self, *, after: str | None = None, limit: int = 100) -> Page[Calibration]:
        query = "SELECT place, record FROM calibrations WHERE place < ? ORDER BY place DESC LIMIT ?"
        return _page(await self._turns.read(lambda db: _rows(db, query, after, limit)), limit, CALIBRATIONS.decode)

    async def activate_calibration(self, calibration_id: str) -> Calibration:
        def activate(db: sqlite3.Connection) -> Calibration:
            calibration = _calibration(db, calibration_id)
            row = (calibration.profile_key, calibration_id)
            db.execute("INSERT OR REPLACE INTO active_calibrations VALUES (?, ?)", row)
            return calibration

        return await self._turns.write(activate)

    async def active_calibration(self, profile_key: str) -> Calibration | None:
        query = "SELECT record FROM calibrations JOIN active_calibrations ON id = calibration_id "
        query += "WHERE active_calibrations.profile_key = ?"
        found = await self._turns.read(lambda db: db.execute(query, (profile_key,)).fetchone())
        return CALIBRATIONS.decode(found[0]) if found else None

    async def active_calibrations(self) -> tuple[Calibration, ...]:
        query = "SELECT record FROM calibrations JOIN active_calibrations ON id = calibration_id"
        found = await self._turns.read(lambda db: db.execute(query).fetchall())
        return tuple(CALIBRATIONS.decode(text) for (text,) in found)

    async def add_suspension(self, suspension: Suspension) -> None:
        row = (suspension.calibration_id, suspension.scope, SUSPENSIONS.encode(suspension))
        await self._change("INSERT INTO suspensions VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)

    async def list_suspensions(self) -> tuple[Suspension, ...]:
        found = await self._turns.read(lambda db: db.execute("SELECT record FROM suspensions").fetchall())
        return tuple(SUSPENSIONS.decode(text) for (text,) in found)

    async def begin(
        self, scope: str, key: str, fingerprint: str, *, hold_seconds: float
    ) -> Started | InProgress | Replay:
        holder = secrets.token_hex(16)

        def claim(db: sqlite3.Connection) -> Started | InProgress | Replay:
            query = "SELECT fingerprint, response, expires FROM idempotency WHERE scope = ? AND key = ? AND expires > ?"
            kept = db.execute(query, (scope, key, _now())).fetchone()
            if kept is not None:
                return _claimed(fingerprint, *kept)
            row = (scope, key, fingerprint, holder, None, _now() + hold_seconds)
            db.execute("INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?)", row)
            return Started(holder)

        return await self._turns.write(claim)

    async def finish(self, scope: str, key: str, holder: str, response: bytes, *, keep_seconds: float) -> bool:
        query = "UPDATE idempotency SET holder = NULL, response = ?, expires = ? "
        query += "WHERE scope = ? AND key = ? AND holder = ? AND expires > ?"
        row = (response, _now() + keep_seconds, scope, key, holder, _now())
        return await self._change(query, row) > 0

    async def abandon(self, scope: str, key: str, holder: str) -> None:
        await self._change("DELETE FROM idempotency WHERE scope = ? AND key = ? AND holder = ?", (scope, key, holder))

    async def health(self) -> Health:
        try:
            return await self._turns.alone(_examined)
        except DemurError as error:
            return Health("away", str(error))

    async def aclose(self) -> None:
        await self._turns.alone(SqliteFile.close)

    async def _change(self, query: str, row: tuple[object, ...]) -> int:
        """The number of rows changed."""
        return await self._turns.write(lambda db: db.execute(query, row).rowcount)


def _examined(file: SqliteFile) -> Health:
    if problem := file.check():
        return Health("not_durable", problem)
    free = file.free_bytes()
    if free < _LOW_BYTES:
        return Health("filling", f"{free / 2**20:.0f} MiB are left on the disk of {file.path}")
    return Health("ok", f"{file.path}: what it keeps is durable")


def _answer(db: sqlite3.Connection, answer_id: str, tenant: str | None) -> AnswerRecord:
    found = db.execute("SELECT record FROM answers WHERE id = ?", (answer_id,)).fetchone()
    record = ANSWERS.decode(found[0]) if found else None
    if record is None or tenant not in (None, record.tenant):
        raise NotFound(f"there is no record of an answer {answer_id!r}")
    return record


def _labelled(db: sqlite3.Connection, text: str) -> LabelledAnswer:
    record = ANSWERS.decode(text)
    query = "SELECT record FROM feedback WHERE answer_id = ? ORDER BY source, key"
    return LabelledAnswer(record, tuple(FEEDBACK.decode(row[0]) for row in db.execute(query, (record.id,))))


def _calibration(db: sqlite3.Connection, calibration_id: str) -> Calibration:
    found = db.execute("SELECT record FROM calibrations WHERE id = ?", (calibration_id,)).fetchone()
    if found is None:
        raise NotFound(f"there is no calibration {calibration_id!r}")
    return CALIBRATIONS.decode(found[0])


def _claimed(fingerprint: str, earlier: str, response: bytes | None, expires: float) -> InProgress | Replay:
    if earlier != fingerprint:
        raise IdempotencyMismatch("this Idempotency-Key was sent before with another request")
    return InProgress(max(0.0, expires - _now())) if response is None else Replay(response)


S = TypeVar("S")


def _rows(db: sqlite3.Connection, query: str, after: str | None, limit: int) -> Rows:
    """One more than `limit`, which tells whether a page follows."""
    return db.execute(query, (_LAST if after is None else after, limit + 1)).fetchall()


_LAST = "~"  # follows every place: those begin with digits


def _page(rows: list[tuple[str, S]], limit: int, decode: Callable[[S], T]) -> Page[T]:
    items = tuple(decode(item) for _, item in rows[:limit])
    return Page(items, rows[limit - 1][0] if len(rows) > limit else None)


def _now() -> float:
    """Unix seconds: processes that share the file share no other clock."""
    return datetime.now(UTC).timestamp()
