"""Replicas that need the same answer wait for the one that works on it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

import anyio

from demur.caching.names import Names
from demur.caching.shelf import Shelf
from demur.caching.tier import Lease, SharedTier, TierUnavailable
from demur.observability.metrics import Metrics
from demur.types import Answer, Degradation, Question

Fresh = Callable[[Question], Awaitable[Answer]]

_FIRST_PAUSE_SECONDS = 0.02
_LAST_PAUSE_SECONDS = 0.1
_RENEWALS = 3  # per life of a lease
# Long enough for every replica that waits to look, too short to be a memory.
_DONE_TTL_SECONDS = 5.0
_CLOCK_SKEW_SECONDS = 1.0
_RELEASE_SECONDS = 1.0
_KEEPABLE = {Degradation.UNCALIBRATED, Degradation.SAMPLING_SKIPPED}


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer, and how this replica came by it; `age_seconds` since it was put away, 0 where it was not."""

    answer: Answer
    source: Literal["led", "alone", "shared", "remembered"]
    ttl_seconds: float = 0.0
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under way. `deadline` in seconds of the monotonic clock; `ttl_seconds` for its answer."""

    question: Question
    digest: str
    deadline: float
    ttl_seconds: float

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - monotonic())


class _Alone(Exception):
    """Nobody can be waited for."""


class Keeper:
    """Draws an answer and remembers it: for one process, where SingleFlight has seen to it that nobody else does."""

    def __init__(self, shelf: Shelf, metrics: Metrics) -> None:
        self._shelf = shelf
        self._metrics = metrics

    async def answer(self, asked: Asked, fresh: Fresh) -> Relayed:
        """Raises as `fresh`."""
        relayed = await self.keep(asked, await fresh(_in_time(asked)), "led")
        self._metrics.single_flights.labels(relayed.source).inc()
        return relayed

    async def keep(self, asked: Asked, answer: Answer, source: Literal["led", "alone"]) -> Relayed:
        """Remember the answer if it is whole; one that is degraded or partial would go on being so."""
        if not asked.ttl_seconds or not is_whole(answer):
            return Relayed(answer, source)
        is_kept = await self._shelf.put(asked.digest, answer, asked.question.tenant, asked.ttl_seconds)
        return Relayed(answer, source, asked.ttl_seconds if is_kept else 0.0)


class Relay(Keeper):
    """Draws an answer under a lease on its question, and hands it to the replicas that waited.

    The lease is renewed while the work runs. When its holder dies it expires, and the next replica takes over. Handing
    over is not remembering: only a replica that saw the holder at work takes what the holder leaves, so that an answer
    too weak to be remembered is shared all the same.
    """

    def __init__(self, shelf: Shelf, tier: SharedTier, names: Names, metrics: Metrics, *, lease_seconds: float) -> None:
        super().__init__(shelf, metrics)
        self._tier = tier
        self._names = names
        self._lease_seconds = lease_seconds

    async def answer(self, asked: Asked, fresh: Fresh) -> Relayed:
        """Raises as `fresh`. Where the tier is away every replica works alone, and the answer says so."""
        try:
            relayed = await self._in_turn(asked, fresh)
        except _Alone:
            relayed = await self.keep(asked, await fresh(_in_time(asked)), "alone")
        except TierUnavailable:
            relayed = Relayed(self._unshared(await fresh(_in_time(asked))), "alone")
        self._metrics.single_flights.labels(relayed.source).inc()
        return relayed

    async def keep(self, asked: Asked, answer: Answer, source: Literal["led", "alone"]) -> Relayed:
        """As in one process; where the tier is away the answer says so."""
        try:
            return await super().keep(asked, answer, source)
        except TierUnavailable:
            return Relayed(self._unshared(answer), source)

    def _unshared(self, answer: Answer) -> Answer:
        """Says that other replicas may be doing the same work, and that nothing is remembered."""
        self._metrics.degraded.labels(Degradation.CACHE_UNAVAILABLE.value).inc()
        return replace(answer, degraded=(*answer.degraded, Degradation.CACHE_UNAVAILABLE))

    async def _in_turn(self, asked: Asked, fresh: Fresh) -> Relayed:
        """Raises _Alone; TierUnavailable only before `fresh` has begun."""
        token, watched, pause = _token(asked.seconds_left), None, _FIRST_PAUSE_SECONDS
        while True:
            async with self._turn(asked, token) as lease:
                found, holder = await self._look(asked, watched)
                if found is not None:
                    return found
                if lease is not None:
                    return await self._led(asked, fresh, lease, token)
            watched = holder or watched
            if holder is not None and not _ends_in_time(holder, asked):
                raise _Alone
            await anyio.sleep(pause)
            pause = min(1.5 * pause, _LAST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _turn(self, asked: Asked, token: bytes) -> AsyncIterator[Lease | None]:
        """A lease on the question, let go at the end; None while another has it."""
        lease = await self._tier.acquire(self._names.lock(asked.digest), token, self._lease_seconds)
        try:
            yield lease
        finally:
            if lease is not None:
                await _let_go(lease)

    async def _look(self, asked: Asked, watched: bytes | None) -> tuple[Relayed | None, bytes | None]:
        """The answer if there is one by now, and who works on it. Raises _Alone, TierUnavailable."""
        names = self._names
        result, holder, done = await self._tier.get(
            names.result(asked.digest), names.lock(asked.digest), names.done(asked.digest)
        )
        kept = await self._shelf.read(result) if result else None
        if kept is not None:
            source: Literal["shared", "remembered"] = "shared" if watched else "remembered"
            return Relayed(kept.answer, source, kept.ttl_seconds, kept.age_seconds), holder
        if watched and done and done.startswith(watched):
            return await self._handed(asked, done.removeprefix(watched)), holder
        return None, holder

    async def _handed(self, asked: Asked, data: bytes) -> Relayed:
        kept = await self._shelf.read(data) if data else None
        if kept is None or is_worth_another_try(kept.answer, kept.answer.work.total_seconds, asked):
            raise _Alone
        return Relayed(kept.answer, "shared")

    async def _led(self, asked: Asked, fresh: Fresh, lease: Lease, token: bytes) -> Relayed:
        try:
            answer = await _while_renewing(lease, self._lease_seconds / _RENEWALS, lambda: fresh(_in_time(asked)))
        except Exception:
            await self._leave(asked, token, b"")
            raise
        relayed = await self.keep(asked, answer, "led")
        if not relayed.ttl_seconds:
            is_private = not asked.ttl_seconds
            await self._leave(asked, token, b"" if is_private else await self._shelf.write(answer, 0.0) or b"")
        return relayed

    async def _leave(self, asked: Asked, token: bytes, data: bytes) -> None:
        """For replicas that wait."""
        try:
            await self._tier.put({self._names.done(asked.digest): token + data}, _DONE_TTL_SECONDS)
        except TierUnavailable:
            return  # they take over when the lease has expired


def is_whole(answer: Answer) -> bool:
    return _KEEPABLE.issuperset(answer.degraded)


def is_worth_another_try(answer: Answer, seconds_it_had: float, asked: Asked) -> bool:
    """Whether its deadline cut the answer short, and the caller has more time than it had."""
    return Degradation.DEADLINE in answer.degraded and asked.seconds_left > seconds_it_had


async def _while_renewing(lease: Lease, every_seconds: float, work: Callable[[], Awaitable[Answer]]) -> Answer:
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_renew, lease, every_seconds)
        try:
            answer = await work()
        except Exception as error:  # carried out of the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return answer


async def _renew(lease: Lease, every_seconds: float) -> None:
    """Until it is lost: the work goes on, and at worst another replica does it too."""
    is_held = True
    while is_held:
        await anyio.sleep(every_seconds)
        try:
            is_held = await lease.renew()
        except TierUnavailable:
            continue  # it may be back in time


async def _let_go(lease: Lease) -> None:
    """Also when the caller has been cancelled: others need not wait for it to expire."""
    with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
        try:
            await lease.release()
        except TierUnavailable:
            return  # it expires by itself


def _in_time(asked: Asked) -> Question:
    """What is left of the time after waiting for another replica."""
    waited = asked.question.timeout_seconds - asked.seconds_left
    if waited < _LAST_PAUSE_SECONDS:
        return asked.question
    return replace(asked.question, timeout_seconds=round(max(0.1, asked.seconds_left), 1))


def _token(seconds_left: float) -> bytes:
    """Names a holder, and says when it ends at the latest."""
    return f"{secrets.token_hex(8)}@{_now() + seconds_left:.3f};".encode()


def _ends_in_time(token: bytes, asked: Asked) -> bool:
    """Whether waiting for the holder leaves the caller with an answer; one that breaks its word is not waited for."""
    return asked.seconds_left > 0 and _ends_at(token) <= _now() + asked.seconds_left + _CLOCK_SKEW_SECONDS


def _ends_at(token: bytes) -> float:
    """Never, for a token that says nothing of it."""
    try:
        return float(token.partition(b"@")[2].rstrip(b";"))
    except ValueError:
        return float("inf")


def _now() -> float:
    return datetime.now(UTC).timestamp()
