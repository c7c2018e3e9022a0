"""`POST /v1/answer`: routes translate, they decide nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import anyio
from fastapi import APIRouter, Body, Request, Response
from fastapi.openapi.models import Example

from demur.api.desk import Desk, DeskDep
from demur.api.events import EVENTS_IN_OPENAPI, DoneEvent, wire_event
from demur.api.guard import requires
from demur.api.problems import CLIENT_CLOSED_REQUEST
from demur.api.reading import StrictRoute
from demur.api.requests import AnswerRequest
from demur.api.responses import AnswerResponse
from demur.api.streaming import EVENT_STREAM, EventStream, Tell, wants_events
from demur.types import Answered, Question

T = TypeVar("T")

EXAMPLES: dict[str, Example] = {
    "question": {"summary": "Ask", "value": {"prompt": "What is the capital of France?"}},
    "passages": {
        "summary": "Ask again, with what retrieval found",
        "value": {
            "prompt": "Who founded Calverton Mills?",
            "context": [{"id": "doc-7", "text": "Calverton Mills was founded by Edda Marlow."}],
            "retrieval": {"attempt": 1},
            "include": ["clusters", "timings"],
        },
    },
    "careful": {
        "summary": "More samples, own thresholds, reproducible",
        "value": {
            "prompt": "What is the currency of Peru?",
            "quality": "thorough",
            "policy": {"answer_min": 0.9},
            "sampling": {"seed": 7},
            "on_abstain": "omit",
        },
    },
}

router = APIRouter(route_class=StrictRoute)


@router.post(
    "/v1/answer",
    response_model=AnswerResponse,
    tags=["answer"],
    dependencies=[requires("answer")],
    responses={200: {"content": {EVENT_STREAM: EVENTS_IN_OPENAPI}}},
)
@router.post("/answer", response_model=AnswerResponse, include_in_schema=False, dependencies=[requires("answer")])
async def answer(
    body: Annotated[AnswerRequest, Body(openapi_examples=EXAMPLES)],
    request: Request,
    response: Response,
    desk: DeskDep,
) -> AnswerResponse | Response:
    """Answer a question, with the evidence for the answer and a decision: answer, retrieve or abstain.

    With `Accept: text/event-stream` samples and their meanings are told as they land.
    """
    question = body.to_domain(desk.defaults, desk.engine.model, desk.tenant)
    if wants_events(request):
        return _told(question, body, desk)
    answered = await while_connected(request, lambda: desk.answering.answer(question))
    if answered is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    response.headers.update(verdict_headers(answered))
    return AnswerResponse.from_domain(answered, body.include, desk.defaults.abstain_text)


def _told(question: Question, body: AnswerRequest, desk: Desk) -> EventStream:
    async def work(tell: Tell) -> None:
        answered = await desk.answering.answer(question, lambda event: tell(*wire_event(event)))
        tell("result", AnswerResponse.from_domain(answered, body.include, desk.defaults.abstain_text))
        tell("done", DoneEvent())

    return EventStream(work)


async def while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T | None:
    """The result of `work`; None, with `work` cancelled, as soon as the client has left."""
    result: T | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                continue
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            result = await work()
        except Exception as error:  # carried out of the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


def verdict_headers(answered: Answered) -> dict[str, str]:
    """The verdict for clients that cannot see the body, and where the time went (milliseconds, W3C Server-Timing).

    The phases follow one another: of entailment, what ran after generation.
    """
    answer, work = answered.answer, answered.answer.work
    phases = {"queue": work.queue_seconds, "gen": work.generate_seconds, "nli": work.nli_visible_seconds}
    entropy = answer.uncertainty.semantic_entropy
    return {
        "X-Demur-Decision": answer.decision.action.value,
        "X-Demur-Confidence": f"{answer.confidence:.4f}",
        **({} if entropy is None else {"X-Demur-Semantic-Entropy": f"{entropy:.4f}"}),
        "X-Demur-Answer-Id": answer.id,
        "X-Demur-Cache": answered.cache.status,
        "Server-Timing": ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in phases.items()),
    }
