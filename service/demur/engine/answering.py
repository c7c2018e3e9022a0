"""The engine, remembered: an earlier answer where one will do, and a record of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from demur.engine.engine import Engine
from demur.types import Answer, Answered, CacheUse, Question

Fresh = Callable[[Question], Awaitable[Answer]]
Charge = Callable[[str, int], Awaitable[None]]


class AnswerCache(Protocol):
    """Spares work that was done already."""

    async def answer(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        """What is remembered for the question, else what `fresh` gives. Raises CacheMiss, and as `fresh`."""


class Journal(Protocol):
    """Keeps a record of answers, for feedback and calibration."""

    async def record(self, answer: Answer) -> bool:
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

    async def answer(self, question: Question) -> Answered:
        """Raises what `Engine.answer` raises, CacheMiss, and RateLimited."""
        if self._cache is None:
            answer, use = await self._fresh(question), CacheUse("bypass")
        else:
            answer, use = await self._cache.answer(question, self._fresh)
        is_stored = self._journal is not None and await self._journal.record(answer)
        return Answered(answer, use, is_stored)

    async def _fresh(self, question: Question) -> Answer:
        if self._charge is not None:
            await self._charge(question.tenant, question.sampling.n)
        return await self._engine.answer(question)
