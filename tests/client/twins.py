"""The two clients behind one face, so that every case runs through both; and servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from demur_client import AsyncDemur, Demur
from tests.service.running import START_SECONDS, wait_for


class Twin:
    """Does what it is told with one of the clients: `do(lambda client: client.answer("q"))`."""

    def __init__(self, kind: type[Demur] | type[AsyncDemur], **options: Any) -> None:
        self._kind = kind
        self._options = options

    def do(self, action: Callable[[Any], Any]) -> Any:
        if self._kind is Demur:
            with Demur(**self._options) as client:
                found = action(client)
                return list(found) if hasattr(found, "__next__") else found
        return asyncio.run(self._do(action))

    async def _do(self, action: Callable[[Any], Any]) -> Any:
        async with AsyncDemur(**self._options) as client:
            found = action(client)
            return [each async for each in found] if hasattr(found, "__anext__") else await found


@dataclass(frozen=True)
class Reply:
    """One scripted reply; status 0 cuts the connection instead, `hangs` keeps the rest for itself."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False


@dataclass
class Misbehaving:
    """A server that gives its replies in turn, the last one for ever, and keeps the requests' headers."""

    replies: list[Reply]
    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.requests.append({name.decode(): value.decode() for name, value in scope["headers"]})
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
        if reply.status == 0:
            headers = [(b"content-length", b"1000")]
        while reply.hangs and (await receive())["type"] != "http.disconnect":
            continue
        await send({"type": "http.response.start", "status": reply.status or 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body, "more_body": reply.status == 0})


@contextmanager
def misbehaving(*replies: Reply) -> Iterator[Misbehaving]:
    app = Misbehaving(list(replies))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server to listen")
        app.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield app
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
