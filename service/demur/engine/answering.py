"""The engine, remembered: an earlier answer where one will do, and a record of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from demur.engine.engine import Engine
from demur.engine.events import Listener, retold
from demur.types import Answer, Answered, CacheUse, Question

Fresh = Callable[[Question], Awaitable[Answer]]
Charge = Callable[[str, int], Awaitable[None]]


class AnswerCache(Protocol):
    """Spares work that was done already."""

    async def answer(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        """What is remembered for the question, else what `fresh` gives. Raises CacheMiss, and as `fresh`."""

    async def forget(self, answer_id: str, tenant: str) -> bool:
        """Whether an answer of this tenant was remembered; now it is not. Raises StoreUnavailable."""


class Journal(Protocol):
    """Keeps a record of answers, for feedback and calibration."""

    def draws_audit(self) -> bool:
        """Toss, before anything is known about the answer, whether this request is one to label by hand."""

    async def record(self, answer: Answer, *, is_audit: bool) -> bool:
        """Whether the record is durable; without a store the answer is given all the same."""


class Answering:
    """Answers questions through a cache and a journal; either may be None.

    `charge` is told whose account samples are drawn on, and how many, before they are: it may refuse.
    """

    def __init__(
        self,
        engine: Engine,
        cache: AnswerCache | None = None,
        journal: Journal | None = None,
        charge: Charge | None = None,
    ) -> None:
        self._engine = engine
        self._charge = charge
        self._cache = cache
        self._journal = journal

    async def forget(self, answer_id: str, tenant: str) -> bool:
        """Whether the answer was remembered for use again; now it is not. Raises StoreUnavailable."""
        return self._cache is not None and await self._cache.forget(answer_id, tenant)

    async def answer(self, question: Question, listener: Listener | None = None) -> Answered:
        """Raises what `Engine.answer` raises, CacheMiss, and RateLimited.

        A `listener` hears of an answer that others drew, or that is remembered, when it is there.
        """
        is_audit = self._journal is not None and self._journal.draws_audit()
        answer, use = await self._found(question, listener)
        if listener is not None and use.status in ("hit", "shared"):
            for event in retold(answer):
                listener(event)
        is_stored = self._journal is not None and await self._journal.record(answer, is_audit=is_audit)
        return Answered(answer, use, is_stored)

    async def _found(self, question: Question, listener: Listener | None) -> tuple[Answer, CacheUse]:
        async def fresh(question: Question) -> Answer:
            if self._charge is not None:
                await self._charge(question.tenant, question.sampling.n)
            return await self._engine.answer(question, listener)

        if self._cache is None:
            return await fresh(question), CacheUse("bypass")
        return await self._cache.answer(question, fresh)
