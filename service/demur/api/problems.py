"""errors.py -> status and `application/problem+json` (RFC 9457), in one table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from demur.api.openai_errors import is_openai_path, openai_error, openai_status, told_error
from demur.errors import DemurError, FieldError, RefusedByBackend, UnsupportedByBackend, ValidationFailed
from demur.observability.logging import logger

CLIENT_CLOSED_REQUEST = 499
MAX_ERRORS = 100  # of one request that are told: else a small body could ask for a large reply
RETRYABLE = {408, 409, 429, 500, 502, 503, 504}
_ADDED = {"named policy", "own policy", "[key]"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What `/problems/{slug}` says. `mend` tells the caller what to do."""

    status: int
    title: str
    mend: str


PROBLEMS: dict[str, Problem] = {
    "malformed-json": Problem(400, "The body is not JSON", "Send one JSON object, UTF-8, without NaN or Infinity."),
    "invalid-request": Problem(400, "The request cannot be understood", "See `detail`."),
    "unauthenticated": Problem(401, "Who are you?", "Send `Authorization: Bearer <key>` with a valid API key."),
    "forbidden": Problem(403, "This key may not do that", "Use a key with the scope that `detail` names."),
    "not-found": Problem(404, "There is nothing here", "See /docs for the endpoints."),
    "model-not-found": Problem(404, "No such model", "Leave `model` out, or name the one /version shows."),
    "method-not-allowed": Problem(405, "Wrong method", "The `Allow` header lists the methods of this path."),
    "cache-miss": Problem(404, "Nothing is remembered", "Leave `cache.mode` at `default` to have it answered."),
    "body-too-slow": Problem(408, "The body took too long", "Send it faster, or raise DEMUR_SERVER__BODY_TIMEOUT_S."),
    "head-too-slow": Problem(408, "The headers took too long", "Send the whole head of a request at once."),
    "idempotency-in-progress": Problem(409, "The same request is still running", "Try again a little later."),
    "body-too-large": Problem(413, "The body is too large", "Send less, or raise DEMUR_SERVER__MAX_BODY_BYTES."),
    "unsupported-media-type": Problem(
        415, "The body is of the wrong type", "Send `Content-Type: application/json`, not compressed."
    ),
    "validation-failed": Problem(422, "Some fields are wrong", "`errors` names each field and what it needs."),
    "context-length-exceeded": Problem(422, "The prompt is too long for the model", "Shorten prompt or context."),
    "idempotency-mismatch": Problem(422, "This idempotency key was used before", "Take a new key for a new request."),
    "unsupported-by-backend": Problem(422, "The model's server cannot do that", "`detail` names what to leave out."),
    "not-calibratable": Problem(422, "The labels do not bear it", "`detail` says what is missing."),
    "rate-limited": Problem(429, "Too many requests", "Try again after `retry_after_s` seconds."),
    "head-too-large": Problem(431, "The headers are too many or too large", "Send at most 100, in 64 KiB altogether."),
    "internal": Problem(500, "Something broke on our side", "Report it with the `request_id`."),
    "backend-error": Problem(502, "The language model failed", "Try again; see the server's log."),
    "unavailable": Problem(503, "Not now", "Try again after `retry_after_s` seconds."),
    "overloaded": Problem(503, "Too much to do", "Try again after `retry_after_s` seconds, or add replicas."),
    "backend-unavailable": Problem(503, "The language model's server is busy or away", "Try again later."),
    "store-unavailable": Problem(
        503, "The store is away", "Try again after `retry_after_s` seconds; nothing was kept."
    ),
    "draining": Problem(503, "Shutting down", "Ask another replica."),
    "degraded-refused": Problem(503, "A signal is missing and `strict` was set", "Leave `strict` out to accept less."),
    "nli-unavailable": Problem(503, "The entailment model failed", "Try again."),
    "profile-unreadable": Problem(500, "A calibration profile cannot be used", "Fit it again; `detail` names it."),
    "dataset-unreadable": Problem(422, "The labelled data cannot be used", "`detail` names the line."),
    "deadline-exceeded": Problem(504, "Out of time", "Raise `timeout_s`, or ask for fewer or shorter samples."),
    "store-full": Problem(507, "The store is full", "Nothing was kept; tell the operator to make room."),
}


def install(app: FastAPI) -> None:
    """Make every expected error of `app` leave as a problem; the unexpected are RequestContext's."""
    app.add_exception_handler(DemurError, _demur_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def problem(request: Request, slug: str, detail: str, **extra: Any) -> Response:
    """A problem+json response, or on the paths for OpenAI's clients an error as they read it.

    `extra` members that are None are left out.
    """
    known = PROBLEMS[slug]
    headers = {"x-should-retry": str(known.status in RETRYABLE).lower()}
    if known.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if is_openai_path(request.scope):
        status = openai_status(known.status)
        return JSONResponse(openai_error(status, slug, detail, extra.get("errors")), status, headers)
    body = {
        "type": f"{request.scope.get('root_path', '')}/problems/{slug}",
        "title": known.title,
        "status": known.status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request.scope.get("demur.request_id"),
        **extra,
    }
    present = {name: value for name, value in body.items() if value is not None}
    return JSONResponse(present, known.status, headers, media_type="application/problem+json")


def problem_of(request: Request, error: Exception) -> Response:
    """The problem that an error is to its caller; one that nobody expected is logged, and not told."""
    if not isinstance(error, DemurError):
        logger.error("bug", exc_info=error)
        return problem(request, "internal", "an unexpected error, not the fault of your request")
    if isinstance(error, RefusedByBackend) and is_openai_path(request.scope):
        told = told_error(error.status, error.code, str(error), error.told)
        return JSONResponse(told, error.status, {"x-should-retry": "false"})
    errors = error.errors if isinstance(error, ValidationFailed | UnsupportedByBackend) else ()
    pointers = [{"pointer": e.pointer, "detail": e.detail} for e in errors] or None
    wait = error.retry_after_seconds
    response = problem(request, error.code, str(error), errors=pointers, retry_after_s=wait)
    if wait is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    return response


async def _demur_error(request: Request, error: Exception) -> Response:
    return problem_of(request, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = error.errors()
    fields = [FieldError(_pointer(e["loc"]), e["msg"].removeprefix("Value error, ")) for e in found[:MAX_ERRORS]]
    if len(found) > MAX_ERRORS:
        fields.append(FieldError("", f"and {len(found) - MAX_ERRORS} more"))
    return problem_of(request, ValidationFailed(*fields))


def _pointer(loc: tuple[Any, ...]) -> str:
    """JSON pointer (RFC 6901) of a pydantic location, less what pydantic adds to it: "body", union tags, key marks."""
    parts = [part for part in (loc[1:] if loc[:1] == ("body",) else loc) if part not in _ADDED]
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in parts)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "invalid-request")
    response = problem(request, slug, str(error.detail))
    response.headers.update(error.headers or {})
    return response
