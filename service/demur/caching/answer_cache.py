"""Spares work that was done already, or is being done: an answer is remembered, and shared while it is drawn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from time import monotonic, perf_counter
from typing import Any

from demur.caching.names import question_digest
from demur.caching.relay import Asked, Keeper, Relayed, is_worth_another_try
from demur.caching.shelf import Shelf
from demur.caching.single_flight import Shared, SingleFlight
from demur.caching.tier import TierUnavailable
from demur.errors import CacheMiss, DeadlineExceeded
from demur.observability.metrics import Metrics
from demur.types import Answer, CacheStatus, CacheUse, Question, Work

Fresh = Callable[[Question], Awaitable[Answer]]

_STATUS: dict[str, CacheStatus] = {"led": "miss", "alone": "miss", "shared": "shared", "remembered": "hit"}


class AnswerCache:
    """Implements the seam of that name in `engine.answering`.

    `fingerprint` stands for the models, settings and calibrations behind the answers, as they are now. An answer is
    used again for `ttl_seconds` at most, less where its question says so; 0 switches everything off, sharing included.
    Tenants never share.
    """

    def __init__(
        self,
        shelf: Shelf,
        keeper: Keeper,
        flights: SingleFlight[Relayed],
        metrics: Metrics,
        *,
        fingerprint: Callable[[], str],
        ttl_seconds: float,
    ) -> None:
        self._shelf = shelf
        self._keeper = keeper
        self._flights = flights
        self._metrics = metrics
        self._fingerprint = fingerprint
        self._ttl_seconds = ttl_seconds

    async def answer(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        """What is remembered for the question, else what `fresh` gives; with the question of this caller.

        default: remembered, else shared, else drawn. bypass: drawn, not remembered. refresh: drawn, and remembered in
        place of what was. only: remembered, or CacheMiss. Raises CacheMiss, Overloaded, and as `fresh`.
        """
        answer, use = await self._answer(question, fresh)
        if use.status in ("hit", "shared"):
            self._metrics.samples.labels(answer.model, "saved").inc(question.sampling.n)
        return answer, use

    async def _answer(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        mode = question.cache.mode
        asked = self._asked(question)
        if not self._ttl_seconds or mode == "bypass":
            return await self._bypassed(question, fresh)
        if mode == "refresh":
            relayed = await self._keeper.keep(asked, await fresh(question), "alone")
            return relayed.answer, CacheUse("refresh", ttl_seconds=relayed.ttl_seconds)
        found = await self._remembered(asked)
        if found is not None:
            return found
        if mode == "only":
            raise CacheMiss("no answer to exactly this request is remembered, or the cache is away")
        return await self._shared(asked, fresh)

    async def forget(self, answer_id: str, tenant: str) -> bool:
        """Whether an answer of this tenant was remembered; now it is not. Raises StoreUnavailable."""
        return await self._shelf.forget(answer_id, tenant)

    def _asked(self, question: Question) -> Asked:
        wanted = question.cache.ttl_seconds
        ttl = self._ttl_seconds if wanted is None else min(wanted, self._ttl_seconds)
        digest = question_digest(question, self._fingerprint())
        return Asked(question, digest, monotonic() + question.timeout_seconds, ttl)

    async def _bypassed(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        if question.cache.mode == "only":
            raise CacheMiss("nothing is remembered: the cache is switched off")
        self._shelf.count("bypass")
        return await fresh(question), CacheUse("bypass")

    async def _remembered(self, asked: Asked) -> tuple[Answer, CacheUse] | None:
        started = perf_counter()
        try:
            kept = await self._shelf.find(asked.digest)
        except TierUnavailable:
            kept = None
        seconds = perf_counter() - started
        self._metrics.phase_seconds.labels("cache").observe(seconds)
        if kept is None:
            return None
        answer = replace(kept.answer, question=asked.question, work=_recalled(kept.answer.work, seconds))
        return answer, CacheUse("hit", kept.age_seconds, kept.ttl_seconds)

    async def _shared(self, asked: Asked, fresh: Fresh) -> tuple[Answer, CacheUse]:
        while True:
            run = await self._flights.share(asked.digest, asked.seconds_left, lambda: self._keeper.answer(asked, fresh))
            if not (run.is_joined and _was_cut_short(run, asked)):
                break
        relayed = run.result()
        if run.is_joined:
            self._metrics.single_flights.labels("joined").inc()
        status = "shared" if run.is_joined and relayed.source != "remembered" else _STATUS[relayed.source]
        answer = replace(relayed.answer, question=asked.question)
        return answer, CacheUse(status, relayed.age_seconds, relayed.ttl_seconds)


def _was_cut_short(run: Shared[Relayed], asked: Asked) -> bool:
    """Whether the run ended for want of time, of which this caller has more than it had."""
    try:
        return is_worth_another_try(run.result().answer, run.seconds, asked)
    except DeadlineExceeded:
        return asked.seconds_left > run.seconds


def _recalled(work: Work, seconds: float) -> Work:
    """Times are those of this request, which drew and judged nothing; counts tell what the answer cost."""
    times: dict[str, Any] = {f.name: 0.0 for f in fields(work) if f.name.endswith("_seconds")}
    return replace(work, **times | {"total_seconds": seconds})
