"""`demur serve`: uvicorn, with a drain that is announced and a first question for newcomers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from types import FrameType

import httpx2
import uvicorn
from fastapi import FastAPI
from prometheus_client import start_http_server
from rich.console import Console
from rich.text import Text

from demur.api.responses import AnswerResponse
from demur.app import create_app
from demur.engine.engine import Engine
from demur.errors import BackendError, DemurError
from demur.http_protocol import BoundedProtocol
from demur.observability import logging
from demur.settings import Settings
from demur.terminal import verdict


class DrainingServer(uvicorn.Server):
    """On SIGTERM: readiness turns 503 and new questions are refused, while accepted ones are finished."""

    def __init__(self, uvicorn_config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(uvicorn_config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        engine: Engine | None = getattr(self._app.state, "engine", None)
        if engine is not None:
            engine.drain()
        super().handle_exit(sig, frame)


class GreetingServer(DrainingServer):
    """Tells a person, once the service listens, where it is and what it answers."""

    def __init__(self, uvicorn_config: uvicorn.Config, app: FastAPI, question: str | None, console: Console) -> None:
        super().__init__(uvicorn_config, app)
        self._question = question
        self._console = console

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            url = self._url()
            page = f"   try it: {url}/playground" if self._app.state.settings.server.playground else ""
            self._console.print(f"[bold green]demur[/] listens on [bold]{url}[/]{page}   docs: {url}/docs")
            if self._question:
                threading.Thread(target=self._ask, args=(url, self._question), daemon=True).start()

    def _url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _ask(self, url: str, question: str) -> None:
        body = {"prompt": question, "include": ["clusters", "nli", "timings"]}
        sent = quote(json.dumps({"prompt": question}, ensure_ascii=False))
        command = f"curl -s {url}/answer -H 'Content-Type: application/json' -d {sent}"
        self._console.print(Text.assemble("\n", ("$ ", "dim"), command, "\n"))
        reply = httpx2.post(f"{url}/answer", json=body, timeout=120)
        if reply.status_code == 200:
            self._console.print(verdict(AnswerResponse.model_validate(reply.json())))
        else:
            self._console.print(Text(f"{reply.status_code} {reply.text}", style="red"))
        self._console.print("\n[dim]Ctrl-C stops the service.[/]")


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.server.host,
        port=settings.server.port,
        http=BoundedProtocol.limited_to(
            max_connections=settings.server.max_connections, max_body_bytes=settings.server.max_body_bytes
        ),
        ws="none",
        log_config=None,  # `run` configures logs
        access_log=False,  # the boundary logs every request, with its id
        server_header=False,
        timeout_graceful_shutdown=round(settings.server.drain_timeout_s),
    )


@contextmanager
def _metrics_port(settings: Settings, app: FastAPI) -> Iterator[None]:
    """Metrics for who reaches a port that the operator keeps to the network around; no key is asked for there."""
    port = settings.observability.metrics_port
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, settings.server.host, app.state.metrics.registry)
    except OSError as error:
        raise BackendError(f"cannot listen on {settings.server.host}:{port} for metrics") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(settings: Settings, question: str | None, console: Console) -> None:
    """Serve until SIGTERM or Ctrl-C; returns when everything accepted is answered.

    Raises DemurError where the service cannot start: a model that cannot be loaded, a port that is taken.
    """
    logging.configure(settings.observability.log_level, settings.observability.log_format)
    app = create_app(settings)
    if settings.auth.needs_key and question:
        console.print("callers need a key: the first question is left out")
        question = None
    server = GreetingServer(configured(app, settings), app, question, console)
    try:
        with _metrics_port(settings, app):
            server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not start
        failure: DemurError | None = getattr(app.state, "failure", None)
        raise failure or BackendError(f"cannot listen on {settings.server.host}:{settings.server.port}") from error
