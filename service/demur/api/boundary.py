"""What wraps every request: an id, a bounded body, a count, a line in the log. Plain ASGI: no response is buffered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from time import perf_counter
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demur.access.rate_limits import Standing, limit_headers, recorded_standings
from demur.api.problems import CLIENT_CLOSED_REQUEST, problem_of
from demur.errors import BodyTooLarge, BodyTooSlow
from demur.observability.logging import logger
from demur.observability.metrics import METHODS, Metrics
from demur.observability.tracing import Tracer, Trail, exemplar, following
from demur.types import ANONYMOUS

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# For the origins that the settings name. No credentials: a key travels in a header that a page sets itself.
CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": [
        *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "X-Request-ID"),
        *("X-Demur-Quality", "X-Demur-On-Abstain"),
        # what OpenAI's client for browsers sends along
        *(f"X-Stainless-{each}" for each in ("Arch", "Helper-Method", "Lang", "OS", "Package-Version")),
        *(f"X-Stainless-{each}" for each in ("Retry-Count", "Runtime", "Runtime-Version", "Timeout")),
    ],
    "expose_headers": ["*"],
}
_QUIET = {"/livez", "/readyz", "/startupz", "/health", "/metrics"}


class RequestContext:
    """Gives a request its id, counts it by route template, and logs how it ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["demur.request_id"] = _request_id(headers)
        with following(Trail.of(scope["demur.request_id"], headers, self._tracer)):
            await self._handle(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status = CLIENT_CLOSED_REQUEST
        standings: dict[str, Standing] = {}

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_headers(MutableHeaders(scope=message), scope, standings.values())
            await send(message)

        try:
            with recorded_standings() as standings:
                await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # during its upload: there is nobody to answer
        except Exception as error:
            response = problem_of(Request(scope), error)
            if status != CLIENT_CLOSED_REQUEST:
                raise  # the response has begun: only the server can cut it off
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", "unmatched")
        is_known = route != "unmatched" and scope["method"] in METHODS
        labels = (route, scope["method"] if is_known else "other", f"{status // 100}xx")
        self._metrics.http_requests.labels(*labels).inc()
        self._metrics.http_seconds.labels(*labels).observe(seconds, exemplar())
        log = logger.debug if route in _QUIET else logger.info
        tenant = scope.get("demur.tenant", ANONYMOUS)
        log(
            "request",
            route=route,
            tenant=tenant,
            status=status,
            seconds=round(seconds, 4),
        )


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def _add_headers(headers: MutableHeaders, scope: Scope, standings: Collection[Standing]) -> None:
    headers["X-Request-ID"] = scope["demur.request_id"]
    for name, value in (SECURITY_HEADERS | limit_headers(standings)).items():
        headers.setdefault(name, value)


class BodyLimit:
    """Bounds the body that a handler reads: its bytes, announced or not, and the time it takes to arrive."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        body = _BoundedBody(receive, headers, self._max_bytes, self._timeout_seconds)

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.is_read:
                MutableHeaders(scope=message)["Connection"] = "close"  # what is left must not pass for a request
            await send(message)

        return await self._app(scope, body, send_and_close)


class _BoundedBody:
    """The `receive` of one request. Raises BodyTooLarge, BodyTooSlow; reads nothing until it is asked to."""

    def __init__(self, receive: Receive, headers: Headers, max_bytes: int, timeout_seconds: float) -> None:
        self._receive = receive
        self._announced = _announced_length(headers)
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._deadline: float | None = None
        self._n_bytes = 0
        self.is_read = not self._announced and "transfer-encoding" not in headers

    async def __call__(self) -> Message:
        if self.is_read:
            return await self._receive()
        self._refuse_if_large(self._announced)
        message = await self._in_time()
        self._n_bytes += len(message.get("body", b""))
        self._refuse_if_large(self._n_bytes)
        self.is_read = not message.get("more_body", False)
        return message

    def _refuse_if_large(self, n_bytes: int) -> None:
        if n_bytes > self._max_bytes:
            raise BodyTooLarge(f"the body is over {self._max_bytes} bytes")

    async def _in_time(self) -> Message:
        """The deadline is the whole body's: one byte a second would else hold a connection for days."""
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._timeout_seconds
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                return await self._receive()
        except TimeoutError as error:
            raise BodyTooSlow(f"the body was not there after {self._timeout_seconds:g} s") from error


def _announced_length(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() else 0
