"""The engine, remembered: an earlier answer where one will do, and a record of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from demur.engine.engine import Engine
from demur.types import Answer, Answered, CacheUse, Question

Fresh = Callable[[Question], Awaitable[Answer]]


class AnswerCache(Protocol):
    """Spares work that was done already."""

    async def answer(self, question: Question, fresh: Fresh) -> tuple[Answer, CacheUse]:
        """What is remembered for the question, else what `fresh` gives. Raises CacheMiss, and as `fresh`."""


class Journal(Protocol):
    """Keeps a record of answers, for feedback and calibration."""

    async def record(self, answer: Answer) -> bool:
        """Whether the record is durable; without a store the answer is given all the same."""


class Answering:
    """Answers questions through a cache and a journal; either may be None."""

    def __init__(self, engine: Engine, cache: AnswerCache | None = None, journal: Journal | None = None) -> None:
        self._engine = engine
        self._cache = cache
        self._journal = journal

    async def answer(self, question: Question) -> Answered:
        """Raises what `Engine.answer` raises, and CacheMiss."""
        if self._cache is None:
            answer, use = await self._engine.answer(question), CacheUse("bypass")
        else:
            answer, use = await self._cache.answer(question, self._engine.answer)
        is_stored = self._journal is not None and await self._journal.record(answer)
        return Answered(answer, use, is_stored)
