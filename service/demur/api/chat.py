"""The OpenAI door: `POST /v1/chat/completions` and `GET /v1/models`, for everything that already speaks to OpenAI.

What can be scored goes the way of `/v1/answer`. What cannot is handed on to the language model's server, and says so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from demur.api import chat_stream
from demur.api.answer import verdict_headers, while_connected
from demur.api.chat_requests import ChatRequest, handed_on, on_abstain_of
from demur.api.chat_responses import ChatCompletion, ModelList, completion, model_list
from demur.api.desk import Desk, DeskDep
from demur.api.guard import requires
from demur.api.problems import CLIENT_CLOSED_REQUEST
from demur.api.reading import StrictRoute
from demur.api.requests import DEFAULT_TIMEOUT_S
from demur.api.streaming import EVENT_STREAM
from demur.engine.forwarding import Forwarding, Unscored
from demur.errors import FieldError, UnsupportedByBackend
from demur.types import ANONYMOUS, Answered, Question

router = APIRouter(route_class=StrictRoute, tags=["openai"])


@router.get("/v1/models", dependencies=[requires("answer")])
async def models(desk: DeskDep) -> ModelList:
    """The served model, and its names with `@fast`, `@balanced` and `@thorough`."""
    return model_list(desk.engine.model)


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    dependencies=[requires("answer")],
    responses={200: {"content": {EVENT_STREAM: chat_stream.CHUNKS_IN_OPENAPI}}},
)
async def chat_completions(
    body: ChatRequest,
    request: Request,
    desk: DeskDep,
    x_demur_quality: Annotated[str | None, Header(description="fast, balanced or thorough.")] = None,
    x_demur_on_abstain: Annotated[str | None, Header(description="annotate, replace or omit.")] = None,
) -> Response:
    """A chat completion with a verdict on it, in the body's `uncertainty` and in `X-Demur-*` headers.

    Tools, images, response formats and whatever else cannot be scored are handed on to the language model's server:
    `uncertainty` is null then, and `uncertainty_skipped` and `X-Demur-Skipped` say why.
    """
    body.require(desk.engine.model)
    if obstacle := body.unscorable(desk.defaults):
        wanted = _unscored(body, await request.json(), obstacle, desk)
        if body.stream:
            return chat_stream.handed_on(wanted, desk.forwarding)
        return await _handed_on(request, wanted, desk.forwarding)
    question = _question(body, x_demur_quality, x_demur_on_abstain, desk)

    def shown(answered: Answered) -> ChatCompletion:
        return completion(answered, body, desk.defaults.abstain_text, passes_on=desk.forwarding.is_possible)

    if body.stream and _can_be_live(body, question):
        heard = replace(question, answer_strategy="greedy")  # the verdict is on what was streamed
        return chat_stream.live(heard, body, desk.engine.model, desk.answering, shown)
    answered = await while_connected(request, lambda: desk.answering.answer(question))
    if answered is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    found, headers = shown(answered), verdict_headers(answered)
    if body.stream:
        return chat_stream.buffered(found, body, headers)
    return JSONResponse(found.model_dump(mode="json", exclude={"uncertainty_skipped"}), headers=headers)


def _can_be_live(body: ChatRequest, question: Question) -> bool:
    """What may have to be replaced, refused, or chosen among samples cannot be said before there is a verdict."""
    chooses = body.options.answer_strategy not in (None, "greedy") or (body.n or 1) > 1
    return not (body.options.buffer or chooses or question.strict or question.on_abstain != "annotate")


def _question(body: ChatRequest, quality: str | None, on_abstain: str | None, desk: Desk) -> Question:
    asked = body.to_request(desk.defaults, body.quality(quality), on_abstain_of(on_abstain))
    question = asked.to_domain(desk.defaults, desk.engine.model, desk.tenant)
    passed_on = body.passed_on() if desk.forwarding.is_possible else ""
    return replace(question, sampling=replace(question.sampling, passed_on=passed_on))


def _unscored(body: ChatRequest, document: dict[str, Any], obstacle: tuple[str, str], desk: Desk) -> Unscored:
    """Raises UnsupportedByBackend where there is no server to hand it on to."""
    reason, field = obstacle
    if not desk.forwarding.is_possible:
        said = f"{field} cannot be scored ({reason}), and the language model of this service runs in its own process"
        raise UnsupportedByBackend(f"{said}: there is no server to hand the request on to", FieldError(field, said))
    return Unscored(
        body=handed_on(document, desk.engine.model),
        reason=reason,
        n=body.n or 1,
        tenant=desk.tenant,
        cache_scope=None if desk.tenant == ANONYMOUS else desk.tenant,
        timeout_seconds=body.options.timeout_s or min(DEFAULT_TIMEOUT_S, desk.defaults.max_timeout_s),
    )


async def _handed_on(request: Request, wanted: Unscored, forwarding: Forwarding) -> Response:
    found = await while_connected(request, lambda: forwarding.complete(wanted))
    if found is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    told = found | {"uncertainty": None, "uncertainty_skipped": wanted.reason}
    return JSONResponse(told, headers={"X-Demur-Skipped": wanted.reason})
