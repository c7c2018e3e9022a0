"""The engine, remembered: an earlier answer where one will do, and a record of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from demur.calibration.profile import ProfileKey
from demur.engine.engine import Engine
from demur.engine.events import Listener, retold
from demur.engine.partitioning import Partition
from demur.observability import spans, tracing
from demur.samplers.base import OnText
from demur.types import Answer, Answered, CacheUse, Question

Fresh = Callable[[Question], Awaitable[Answer]]
Charge = Callable[[str, int, str], Awaitable[None]]


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

    async def record(self, answer: Answer, key: ProfileKey, *, is_audit: bool) -> bool:
        """Whether the record is durable; without a store the answer is given all the same. `key`: how it was asked."""


class Answering:
    """Answers questions through a cache and a journal; either may be None.

    `charge` is told whose account samples are drawn on, how many, and where the request says so, before they are drawn
    or compared: it may refuse.
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

    async def answer(
        self, question: Question, listener: Listener | None = None, on_text: OnText | None = None
    ) -> Answered:
        """Raises what `Engine.answer` raises, CacheMiss, and RateLimited.

        A `listener` hears of an answer that others drew, or that is remembered, when it is there; `on_text` does not.
        """
        with tracing.span("answer") as span:
            spans.tell_question(span, question)
            answered = await self._answered(question, listener, on_text)
            spans.tell_answered(span, answered)
        return answered

    async def _answered(self, question: Question, listener: Listener | None, on_text: OnText | None) -> Answered:
        is_audit = self._journal is not None and self._journal.draws_audit()
        answer, use = await self._found(question, listener, on_text)
        if listener is not None and use.status in ("hit", "shared"):
            for event in retold(answer):
                listener(event)
        is_stored = False
        if self._journal is not None:
            is_stored = await self._journal.record(answer, self._engine.profile_key(answer), is_audit=is_audit)
        return Answered(answer, use, is_stored)

    async def rate(self, question: Question) -> Answered:
        """The answer in `question.rated`, rated. Nothing of it is remembered or kept. Raises as `answer`."""
        is_drawn = question.rated is None or not question.rated.samples
        with tracing.span("answer") as span:
            spans.tell_question(span, question)
            await self._spend(question.tenant, question.sampling.n, "/sampling/n" if is_drawn else "/samples")
            answered = Answered(await self._engine.answer(question), CacheUse("bypass"), is_stored=False)
            spans.tell_answered(span, answered)
        return answered

    async def cluster(self, texts: Sequence[str], question: str, *, tenant: str, timeout_seconds: float) -> Partition:
        """As `Engine.cluster`; each text counts as a sample. Raises RateLimited, too."""
        with tracing.span("cluster") as span:
            span.set({"demur.texts": len(texts)})
            await self._spend(tenant, len(texts), "/texts")
            return await self._engine.cluster(texts, question, tenant=tenant, timeout_seconds=timeout_seconds)

    async def _spend(self, tenant: str, n: int, field: str) -> None:
        if self._charge is not None:
            await self._charge(tenant, n, field)

    async def _found(
        self, question: Question, listener: Listener | None, on_text: OnText | None
    ) -> tuple[Answer, CacheUse]:
        async def fresh(question: Question) -> Answer:
            await self._spend(question.tenant, question.sampling.n, "/sampling/n")
            return await self._engine.answer(question, listener, on_text)

        if self._cache is None:
            return await fresh(question), CacheUse("bypass")
        return await self._cache.answer(question, fresh)
