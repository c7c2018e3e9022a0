"""Ask, look up only when the model does not know, ask again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

from demur_client._async_client import AsyncDemur
from demur_client._client import Demur
from demur_client._models import AnswerResult
from demur_client._options import AnswerOptions, Passage, RetrievalOption

Retriever = Callable[[str, int], Sequence[Passage]]
"""(question, attempt from 1 on) -> passages; none when there is nothing more to find."""

AsyncRetriever = Callable[[str, int], Awaitable[Sequence[Passage]]]


@dataclass(frozen=True, slots=True)
class Step:
    """One question to the service: after `attempt` look-ups, over `passages`."""

    attempt: int
    passages: tuple[Passage, ...]
    result: AnswerResult


@dataclass(frozen=True, slots=True)
class RagResult:
    """How a loop ended. True where the service stands by the answer; `trace` has every step."""

    question: str
    trace: tuple[Step, ...]

    @property
    def result(self) -> AnswerResult:
        """The last word of the service."""
        return self.trace[-1].result

    @property
    def answer(self) -> str | None:
        """The text, also where the service abstains and `on_abstain` keeps it: look at `bool(...)` first."""
        return self.result.answer

    @property
    def decision(self) -> str:
        """`answer`, or `abstain`; `retrieve` where the service asked for more than the retriever had."""
        return self.result.decision

    @property
    def n_lookups(self) -> int:
        return self.trace[-1].attempt

    def __bool__(self) -> bool:
        return bool(self.result)


@dataclass(slots=True)
class _Course:
    """The state of one loop, without I/O: what to ask next, and whether to look up."""

    question: str
    options: AnswerOptions
    max_attempts: int
    retriever_id: str | None
    passages: list[Passage] = field(default_factory=list)
    trace: list[Step] = field(default_factory=list)

    @property
    def attempt(self) -> int:
        return len(self.trace)

    def next_options(self) -> AnswerOptions:
        retrieval: RetrievalOption = {"attempt": self.attempt, "max_attempts": self.max_attempts}
        if self.retriever_id is not None:
            retrieval["id"] = self.retriever_id
        return cast(AnswerOptions, {**self.options, "context": list(self.passages), "retrieval": retrieval})

    def wants_lookup(self, result: AnswerResult) -> bool:
        self.trace.append(Step(self.attempt, tuple(self.passages), result))
        return result.decision == "retrieve" and self.attempt <= self.max_attempts

    def found(self, passages: Sequence[Passage]) -> bool:
        """Whether that is more than there was."""
        fresh = [passage for passage in passages if passage not in self.passages]
        self.passages.extend(fresh)
        return bool(fresh)

    def result(self) -> RagResult:
        return RagResult(self.question, tuple(self.trace))


class RagLoop:
    """Answers from the model's own knowledge where that is certain, and from your retriever where it is not.

    `max_attempts` bounds the look-ups; `retriever_id` names retriever and index version, for two-stage guarantees.
    `options` are those of `Demur.answer`. The loop ends when the service answers or abstains, or when the retriever
    has nothing new.
    """

    def __init__(
        self,
        client: Demur,
        retriever: Retriever,
        *,
        max_attempts: int = 1,
        retriever_id: str | None = None,
        options: AnswerOptions | None = None,
    ) -> None:
        _check(max_attempts)
        self._client, self._retriever = client, retriever
        self._max_attempts, self._retriever_id = max_attempts, retriever_id
        self._options: AnswerOptions = options or {}

    def run(self, question: str) -> RagResult:
        """Raises: DemurError and its children, and whatever the retriever raises."""
        course = _Course(question, self._options, self._max_attempts, self._retriever_id)
        while course.wants_lookup(self._client.answer(question, **course.next_options())):
            if not course.found(self._retriever(question, course.attempt)):
                break
        return course.result()


class AsyncRagLoop:
    """RagLoop for AsyncDemur; the retriever is a coroutine function."""

    def __init__(
        self,
        client: AsyncDemur,
        retriever: AsyncRetriever,
        *,
        max_attempts: int = 1,
        retriever_id: str | None = None,
        options: AnswerOptions | None = None,
    ) -> None:
        _check(max_attempts)
        self._client, self._retriever = client, retriever
        self._max_attempts, self._retriever_id = max_attempts, retriever_id
        self._options: AnswerOptions = options or {}

    async def run(self, question: str) -> RagResult:
        """Raises: DemurError and its children, and whatever the retriever raises."""
        course = _Course(question, self._options, self._max_attempts, self._retriever_id)
        while course.wants_lookup(await self._client.answer(question, **course.next_options())):
            if not course.found(await self._retriever(question, course.attempt)):
                break
        return course.result()


def _check(max_attempts: int) -> None:
    if not 1 <= max_attempts <= 8:
        raise ValueError(f"max_attempts must be 1 to 8, got {max_attempts}")
