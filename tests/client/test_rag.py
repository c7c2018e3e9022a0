"""Look up only when the model does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from demur_client import AsyncDemur, AsyncRagLoop, Demur, RagLoop, RagResult
from demur_client._options import AnswerOptions, Passage
from tests.service.running import Service


class Loop:
    """Runs either loop over a retriever that gives `found[attempt - 1]`."""

    def __init__(self, service: Service, is_async: bool) -> None:
        self._url, self._is_async = service.url, is_async
        self.looked_up: list[tuple[str, int]] = []

    def run(self, question: str, *found: Sequence[Passage], max_attempts: int = 1, **options: object) -> RagResult:
        def retrieve(asked: str, attempt: int) -> Sequence[Passage]:
            self.looked_up.append((asked, attempt))
            return found[attempt - 1]

        async def retrieve_later(asked: str, attempt: int) -> Sequence[Passage]:
            return retrieve(asked, attempt)

        known: AnswerOptions = options  # type: ignore[assignment]
        if not self._is_async:
            with Demur(base_url=self._url) as client:
                return RagLoop(client, retrieve, max_attempts=max_attempts, options=known).run(question)

        async def run() -> RagResult:
            async with AsyncDemur(base_url=self._url) as client:
                loop = AsyncRagLoop(client, retrieve_later, max_attempts=max_attempts, options=known)
                return await loop.run(question)

        return asyncio.run(run())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def loop(request: pytest.FixtureRequest, service: Service) -> Loop:
    return Loop(service, request.param)


def test_what_the_model_knows_is_not_looked_up(loop: Loop) -> None:
    result = loop.run("q")
    assert (result.answer, result.decision, result.n_lookups, bool(result)) == ("Paris", "answer", 0, True)
    assert loop.looked_up == []


def test_what_it_does_not_know_is_looked_up_once(loop: Loop) -> None:
    result = loop.run("unsure", ["Paris it is."])
    assert (result.answer, result.n_lookups, bool(result)) == ("Paris", 1, True)
    assert loop.looked_up == [("unsure", 1)]
    assert [step.result.decision for step in result.trace] == ["retrieve", "answer"]
    assert result.trace[1].passages == ("Paris it is.",)


def test_a_retriever_with_nothing_ends_the_loop(loop: Loop) -> None:
    result = loop.run("unsure", [])
    assert (result.decision, bool(result), len(result.trace)) == ("retrieve", False, 1)


def test_a_retriever_that_repeats_itself_ends_the_loop(loop: Loop) -> None:
    # the demanded agreement cannot be reached: the service goes on asking for more
    strict = {"policy": {"answer_min": 1.0, "groundedness_min": 1.0}}
    result = loop.run("unsure", ["Berlin."], ["Berlin."], ["Berlin."], max_attempts=3, **strict)
    assert (result.decision, bool(result)) == ("retrieve", False)
    assert loop.looked_up == [("unsure", 1), ("unsure", 2)]


def test_attempts_are_bounded_and_passages_pile_up(loop: Loop) -> None:
    strict = {"policy": {"answer_min": 1.0, "groundedness_min": 1.0}}
    result = loop.run("unsure", ["One."], ["Two."], max_attempts=2, **strict)
    assert (result.decision, result.n_lookups) == ("abstain", 2)
    assert result.trace[-1].passages == ("One.", "Two.")


@pytest.mark.parametrize("wrong", [0, 9])
def test_attempts_have_bounds(loop: Loop, wrong: int) -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        loop.run("q", max_attempts=wrong)
