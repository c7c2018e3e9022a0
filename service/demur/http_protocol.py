"""HTTP/1.1 with bounds that uvicorn has not: on the head of a request, on the time it takes, on open connections."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from demur.api.boundary import SECURITY_HEADERS
from demur.api.problems import PROBLEMS, RETRYABLE

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
HEAD_SECONDS = 10.0
WIRE_FACTOR = 8  # a body in chunks of one byte is six times as long on the wire


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Whatever is refused here leaves as a problem, like everything that is refused later."""

    max_connections: ClassVar[int] = 1024
    max_sent_bytes: ClassVar[int] = 1 << 23
    _n_head_bytes: int = 0
    _n_sent_bytes: int = 0
    _is_in_head: bool = True
    _is_refused: bool = False
    _head_timer: asyncio.TimerHandle | None = None

    @classmethod
    def limited_to(cls, *, max_connections: int, max_body_bytes: int) -> type[BoundedProtocol]:
        """uvicorn builds one for each connection, and hands it no settings of ours."""
        limits = {"max_connections": max_connections, "max_sent_bytes": WIRE_FACTOR * max_body_bytes + MAX_HEAD_BYTES}
        return type(cls.__name__, (cls,), limits)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse("overloaded", f"{self.max_connections} connections are open; try again later")
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        was_in_head = self._is_in_head
        if was_in_head:
            self._n_head_bytes += len(data)
        else:
            self._n_sent_bytes += len(data)
        super().data_received(data)
        if was_in_head and self._is_in_head and self._n_head_bytes > MAX_HEAD_BYTES:
            self._refuse("head-too-large", f"the head of the request is over {MAX_HEAD_BYTES} bytes")
        elif not self._is_in_head and self._n_sent_bytes > self.max_sent_bytes:
            self._refuse(
                "body-too-large", f"the body, with its chunk sizes and trailers, is over {self.max_sent_bytes} bytes"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # trailers would be added to headers that were already acted upon
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_timer()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._n_head_bytes, self._n_sent_bytes = False, 0, 0
        self._stop_timer()
        n_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if n_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            detail = f"the request has {len(self.headers)} headers, and {n_bytes} bytes before its body"
            self._refuse("head-too-large", detail)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_head = True
        if not self._is_refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("invalid-request", msg)

    def _start_timer(self) -> None:
        if self._head_timer is None and not self._is_refused:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._refuse("head-too-slow", f"the head of the request was not there after {HEAD_SECONDS:g} s")

    def _refuse(self, slug: str, detail: str) -> None:
        """Answer in the application's place and close; only close where its answer has begun."""
        self._is_refused = True
        self._stop_timer()
        cycle = self.cycle
        is_unfinished = cycle is not None and not cycle.response_complete
        if not self.transport.is_closing() and not (is_unfinished and cycle.response_started):
            self.transport.write(_problem(slug, detail))
        if is_unfinished:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def _problem(slug: str, detail: str) -> bytes:
    known = PROBLEMS[slug]
    members = {"type": f"/problems/{slug}", "title": known.title, "status": known.status, "detail": detail}
    body = json.dumps(members).encode()
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        "x-should-retry": str(known.status in RETRYABLE).lower(),
        **SECURITY_HEADERS,
    }
    lines = [f"HTTP/1.1 {known.status} {HTTPStatus(known.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
