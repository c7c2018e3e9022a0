"""What wraps every request: an id, a bounded body, a count, a line in the log. Plain ASGI: no response is buffered."""

from __future__ import annotations

import re
import secrets
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demur.api.problems import CLIENT_CLOSED_REQUEST, problem
from demur.observability.logging import logger
from demur.observability.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_QUIET = {"/livez", "/readyz", "/startupz", "/health", "/metrics"}


class RequestContext:
    """Gives a request its id, counts it by route template, and logs how it ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope["demur.request_id"] = _request_id(Headers(scope=scope))
        started = perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            logger.error("bug", id=scope["demur.request_id"], exc_info=error)
            if status != CLIENT_CLOSED_REQUEST:
                raise  # the response has begun: only the server can cut it off
            response = problem(Request(scope), "internal", "an unexpected error, not the fault of your request")
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", "unmatched")
        labels = (route, scope["method"] if route != "unmatched" else "other", f"{status // 100}xx")
        self._metrics.http_requests.labels(*labels).inc()
        self._metrics.http_seconds.labels(*labels).observe(seconds)
        log = logger.debug if route in _QUIET else logger.info
        log("request", id=scope["demur.request_id"], route=route, status=status, seconds=round(seconds, 4))


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _add_headers(headers: MutableHeaders, scope: Scope) -> None:
    headers["X-Request-ID"] = scope["demur.request_id"]
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")


class BodyLimit:
    """Refuses a body over `max_bytes`, announced or not, without reading the rest of it."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if _announced_length(scope) > self._max_bytes:
            return await self._refuse(scope, receive, send)
        chunks = await self._read(receive)
        if chunks is None:
            return await self._refuse(scope, receive, send)
        if chunks[-1]["type"] == "http.disconnect":
            return None
        return await self._app(scope, _replayed(chunks, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        """The messages of the whole body; None as soon as they are too many bytes."""
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return messages

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is over {self._max_bytes} bytes"
        response = problem(Request(scope), "body-too-large", detail)
        response.headers["Connection"] = "close"  # the unread rest of the body must not be taken for a request
        await response(scope, receive, send)


def _announced_length(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "0")
    return int(length) if length.isdecimal() else 0


def _replayed(messages: list[Message], receive: Receive) -> Receive:
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return message if message is not None else await receive()

    return replay
