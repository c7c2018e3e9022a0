"""Server-sent events: what happens is told while the work runs, and the work ends when nobody listens any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from demur.api.problems import problem_of

EVENT_STREAM = "text/event-stream"
PING_SECONDS = 15.0  # proxies hang up on a connection that is silent for longer than some 30 s
_STALLED_SECONDS = 60.0

Tell = Callable[[str, BaseModel], None]
OnEnd = Callable[[bytes | None], Awaitable[None]]


class EventStream(Response):
    """Runs `work`, which is given a function to tell (name, data) with; the response is what it told.

    What goes wrong before anything was told, or pinged, is raised: a problem with its own status. Later it is the last
    event, `error`, with the problem as its data. When the client leaves, `work` is cancelled.
    """

    media_type = EVENT_STREAM

    def __init__(self, work: Callable[[Tell], Awaitable[None]]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers({"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"})
        self._work = work
        self._on_end: OnEnd | None = None
        self._told: deque[bytes] = deque()  # as long as the work has things to tell: some events for each sample
        self._sent: list[bytes] = []
        self._news = anyio.Event()
        self._is_over = False
        self._failure: Exception | None = None

    def at_end(self, on_end: OnEnd) -> None:
        """`on_end` gets all that is told, before the last of it is sent; None where the work failed, or ended early."""
        self._on_end = on_end

    def message(self, name: str, data: str) -> bytes:
        """`data` is JSON on one line."""
        return f"event: {name}\ndata: {data}\n\n".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._run(Request(scope), receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._end(None)

    async def _end(self, told: bytes | None) -> None:
        """Only the first call counts."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            await on_end(told)

    async def _run(self, request: Request, receive: Receive, send: Send) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._do_work)
            group.start_soon(_leave_with_the_client, receive, group.cancel_scope)
            try:
                await self._deliver(request, send)
            except Exception as error:  # carried out of the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _do_work(self) -> None:
        try:
            await self._work(self._tell)
        except Exception as error:  # told to the client by who delivers
            self._failure = error
        finally:
            self._is_over = True
            self._news.set()

    def _tell(self, name: str, data: BaseModel) -> None:
        self._told.append(self.message(name, data.model_dump_json()))
        self._news.set()

    async def _deliver(self, request: Request, send: Send) -> None:
        message = await self._next()
        if message is None and self._failure is not None:
            raise self._failure
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while message is not None:
            if self._is_over and not self._told and self._failure is None:
                await self._end(b"".join(self._sent))
            await _send(send, message)
            message = await self._next()
        if self._failure is not None:
            await self._end(None)
            await _send(send, self.message("error", bytes(problem_of(request, self._failure).body).decode()))
        await send({"type": "http.response.body", "body": b""})

    async def _next(self) -> bytes | None:
        """The next message, a ping where there is none for a while; None where nothing more will come."""
        with anyio.move_on_after(PING_SECONDS):
            while not self._told and not self._is_over:
                self._news = anyio.Event()
                await self._news.wait()
        if not self._told:
            return None if self._is_over else b": ping\n\n"
        message = self._told.popleft()
        if self._on_end is not None:
            self._sent.append(message)
        return message


def wants_events(request: Request) -> bool:
    """Whether `Accept` names events, and does not like JSON as well or better."""
    weights = dict(map(_weighted, request.headers.get("accept", "").split(",")))
    return weights.get(EVENT_STREAM, 0.0) > weights.get("application/json", 0.0)


def _weighted(accepted: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in accepted.split(";"))
    quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return kind, float(quality)
    except ValueError:
        return kind, 0.0


async def _send(send: Send, message: bytes) -> None:
    """Raises ClientDisconnect where the client takes nothing for a minute: it is as good as gone."""
    with anyio.move_on_after(_STALLED_SECONDS) as scope:
        await send({"type": "http.response.body", "body": message, "more_body": True})
    if scope.cancelled_caught:
        raise ClientDisconnect


async def _leave_with_the_client(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    scope.cancel()
