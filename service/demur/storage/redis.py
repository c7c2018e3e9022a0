"""Records in Redis, shared by all replicas."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from demur.errors import DemurError, IdempotencyMismatch, NotFound
from demur.storage.base import Health, InProgress, Page, Replay, Started, place
from demur.storage.codec import ANSWERS, CALIBRATIONS, FEEDBACK, SUSPENSIONS
from demur.storage.keys import Keys
from demur.storage.records import AnswerRecord, Calibration, Feedback, LabelledAnswer, Suspension
from demur.storage.redis_calls import Command, RedisCalls
from demur.storage.redis_connection import open_redis
from demur.storage.scripts import ABANDON, ADD_FEEDBACK, BEGIN, FINISH

_SWEEP_BATCH = 200


class RedisStore:
    """A record and the feedback on it share a cluster slot; the lists have slots of their own.

    So a record is put into its list first and taken out last: a crash in between leaves a list entry without a record,
    which reading skips and sweeping removes, and never a record that no list knows.
    """

    def __init__(self, url: str, *, prefix: str, timeout_seconds: float, assume_durable: bool = False) -> None:
        """Raises: ValueError where the URL cannot be understood. Nothing is sent yet."""
        client = open_redis(url, timeout_seconds=timeout_seconds)
        self._redis = RedisCalls(client, _without_credentials(url), assume_durable=assume_durable)
        self._keys = Keys(prefix)

    @property
    def name(self) -> str:
        return self._redis.name

    async def add_answer(self, record: AnswerRecord) -> None:
        at = place(record.created, record.id)
        lists = ["answers", "audits"] if record.is_audit else ["answers"]
        kept: Command = ("SET", self._keys.answer(record.id), ANSWERS.encode(record))
        adds: list[Command] = [("ZADD", self._keys.listed(name), 0, at) for name in lists]
        await self._redis.together([*adds, kept if record.is_audit else (*kept, "NX")])

    async def get_answer(self, answer_id: str, *, tenant: str | None = None) -> AnswerRecord:
        found = await self._redis.one("GET", self._keys.answer(answer_id))
        record = ANSWERS.decode(found) if found is not None else None
        if record is None or tenant not in (None, record.tenant):
            raise _no_answer(answer_id)
        return record

    async def delete_answer(self, answer_id: str, *, tenant: str | None = None) -> None:
        record = await self.get_answer(answer_id, tenant=tenant)
        fields: list[bytes] = await self._redis.one("HKEYS", self._keys.feedback(answer_id))
        at = place(record.created, answer_id)
        members = [f"{at}:{field.decode()}" for field in fields]
        gone: Command = ("DEL", self._keys.answer(answer_id), self._keys.feedback(answer_id))
        await self._redis.in_order(  # a transaction is refused where memory is full
            [
                gone,
                ("ZREM", self._keys.listed("answers"), at),
                ("ZREM", self._keys.listed("audits"), at),
                *(("ZREM", self._keys.listed("feedback"), member) for member in members),
            ]
        )

    async def add_feedback(self, feedback: Feedback, *, tenant: str | None = None) -> None:
        record = await self.get_answer(feedback.answer_id, tenant=tenant)
        field = f"{feedback.source}:{feedback.key}"
        slot = (self._keys.answer(record.id), self._keys.feedback(record.id))
        _, is_kept = await self._redis.together(
            [
                ("ZADD", self._keys.listed("feedback"), 0, place(record.created, record.id, field)),
                ("EVAL", ADD_FEEDBACK, 2, *slot, field, FEEDBACK.encode(feedback)),
            ]
        )
        if not is_kept:  # deleted since it was read
            raise _no_answer(feedback.answer_id)

    async def list_feedback(self, *, after: str | None = None, limit: int = 100) -> Page[Feedback]:
        members, following = await self._listed("feedback", after, limit)
        places = [member.split(":", 2) for member in members]
        found = await self._redis.each([("HGET", self._keys.feedback(of), field) for _, of, field in places])
        return Page(tuple(FEEDBACK.decode(text) for text in found if text is not None), following)

    async def list_audits(self, *, after: str | None = None, limit: int = 100) -> Page[LabelledAnswer]:
        members, following = await self._listed("audits", after, limit)
        ids = [member.split(":", 1)[1] for member in members]
        records = await self._redis.each([("GET", self._keys.answer(each)) for each in ids])
        said = await self._redis.each([("HVALS", self._keys.feedback(each)) for each in ids])
        pairs = zip(records, said, strict=True)
        return Page(tuple(_labelled(record, texts) for record, texts in pairs if record is not None), following)

    async def sweep(self, *, created_before: int) -> int:
        n_forgotten = 0
        answers, end = self._keys.listed("answers"), f"({place(created_before)}"
        while members := await self._redis.one("ZRANGEBYLEX", answers, "-", end, "LIMIT", 0, _SWEEP_BATCH):
            ids = [member.decode().split(":", 1)[1] for member in members]
            n_forgotten += sum(await self._redis.each([("DEL", self._keys.answer(each)) for each in ids]))
            await self._redis.each([("DEL", self._keys.feedback(each)) for each in ids])
            await self._redis.one("ZREM", answers, *members)
        for name in ("audits", "feedback"):
            await self._redis.one("ZREMRANGEBYLEX", self._keys.listed(name), "-", end)
        return n_forgotten

    async def add_calibration(self, calibration: Calibration) -> None:
        at = place(calibration.created, calibration.id)
        kept = self._keys.calibration(calibration.id)
        listed, is_new = await self._redis.together(
            [
                ("ZADD", self._keys.listed("calibrations"), 0, at),
                ("SET", kept, CALIBRATIONS.encode(calibration), "NX"),
            ]
        )
        if not is_new:
            if listed:  # the entry that was just made; the one of the other document stays
                await self._redis.one("ZREM", self._keys.listed("calibrations"), at)
            raise ValueError(f"there is a calibration {calibration.id} already")

    async def get_calibration(self, calibration_id: str) -> Calibration:
        found = await self._redis.one("GET", self._keys.calibration(calibration_id))
        if found is None:
            raise NotFound(f"there is no calibration {calibration_id!r}")
        return CALIBRATIONS.decode(found)

    async def list_calibrations(self, *, after: str | None = None, limit: int = 100) -> Page[Calibration]:
        members, following = await self._listed("calibrations", after, limit)
        ids = [member.split(":", 1)[1] for member in members]
        found = await self._redis.each([("GET", self._keys.calibration(each)) for each in ids])
        return Page(tuple(CALIBRATIONS.decode(text) for text in found if text is not None), following)

    async def activate_calibration(self, calibration_id: str) -> Calibration:
        calibration = await self.get_calibration(calibration_id)
        pointer = self._keys.active_calibration(calibration.profile_key)
        listed: Command = ("SADD", self._keys.active_keys, calibration.profile_key)
        await self._redis.together([listed, ("SET", pointer, calibration_id)])
        return calibration

    async def active_calibration(self, profile_key: str) -> Calibration | None:
        active = await self._redis.one("GET", self._keys.active_calibration(profile_key))
        return None if active is None else await self.get_calibration(active.decode())

    async def active_calibrations(self) -> tuple[Calibration, ...]:
        listed = [member.decode() for member in await self._redis.one("SMEMBERS", self._keys.active_keys)]
        active = await self._redis.each([("GET", self._keys.active_calibration(each)) for each in listed])
        ids = [each.decode() for each in active if each is not None]
        found = await self._redis.each([("GET", self._keys.calibration(each)) for each in ids])
        return tuple(CALIBRATIONS.decode(text) for text in found if text is not None)

    async def add_suspension(self, suspension: Suspension) -> None:
        field = f"{suspension.scope}:{suspension.calibration_id}"
        kept: Command = ("HSETNX", self._keys.suspensions, field, SUSPENSIONS.encode(suspension))
        await self._redis.together([kept])

    async def list_suspensions(self) -> tuple[Suspension, ...]:
        return tuple(map(SUSPENSIONS.decode, await self._redis.one("HVALS", self._keys.suspensions)))

    async def begin(
        self, scope: str, key: str, fingerprint: str, *, hold_seconds: float
    ) -> Started | InProgress | Replay:
        holder, entry = secrets.token_hex(16), self._keys.idempotency(scope, key)
        kept = await self._redis.one("EVAL", BEGIN, 1, entry, fingerprint, holder, _milliseconds(hold_seconds))
        if not kept:
            return Started(holder)
        earlier, response, is_finished, milliseconds_left = kept
        if earlier.decode() != fingerprint:
            raise IdempotencyMismatch("this Idempotency-Key was sent before with another request")
        return Replay(response) if is_finished else InProgress(milliseconds_left / 1000)

    async def finish(self, scope: str, key: str, holder: str, response: bytes, *, keep_seconds: float) -> bool:
        entry = self._keys.idempotency(scope, key)
        return bool(await self._redis.one("EVAL", FINISH, 1, entry, holder, response, _milliseconds(keep_seconds)))

    async def abandon(self, scope: str, key: str, holder: str) -> None:
        await self._redis.one("EVAL", ABANDON, 1, self._keys.idempotency(scope, key), holder)

    async def health(self) -> Health:
        try:
            await self._redis.one("SET", self._keys.probe, 1, "PX", 1000)
            problem = await self._redis.durability_problem()
        except DemurError as error:
            return Health("away", str(error))
        return Health("not_durable", problem) if problem else Health("ok", f"{self.name}: what it keeps is durable")

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _listed(self, name: str, after: str | None, limit: int) -> tuple[list[str], str | None]:
        """The members of a page, and the cursor of the next one."""
        start = "+" if after is None else f"({after}"
        members = await self._redis.one("ZREVRANGEBYLEX", self._keys.listed(name), start, "-", "LIMIT", 0, limit + 1)
        texts = [member.decode() for member in members]
        return texts[:limit], texts[limit - 1] if len(texts) > limit else None


def _labelled(record: bytes, feedback: Sequence[bytes]) -> LabelledAnswer:
    said = sorted(map(FEEDBACK.decode, feedback), key=lambda each: (each.source, each.key))
    return LabelledAnswer(ANSWERS.decode(record), tuple(said))


def _no_answer(answer_id: str) -> NotFound:
    return NotFound(f"there is no record of an answer {answer_id!r}")


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(1000 * seconds))


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
