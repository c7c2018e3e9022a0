"""Strict reading of JSON bodies: what is not JSON is refused before any field is looked at."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

from demur.api.guard import guard_of
from demur.api.idempotency import Idempotency
from demur.errors import MalformedJSON, UnsupportedMediaType


class StrictRequest(Request):
    """Python's reader accepts NaN, raises RecursionError on deep nesting, and keeps lone surrogates: not here."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that asks who is there before it reads a word, and whose body must be declared as JSON and be JSON."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()
        guard = guard_of(self)

        async def strict(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            if guard:
                await guard.admit(request)
            document = None
            if self.body_field:
                _require_json(request)
                document = await request.json()
            if request.method != "POST":
                return await handle(request)
            idempotency: Idempotency = request.app.state.idempotency
            return await idempotency.reply(request, document, request.scope["demur.tenant"], lambda: handle(request))

        return strict


def read_json(body: bytes) -> Any:
    """The document in `body`. Raises MalformedJSON saying what is wrong and where."""
    try:
        document = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}") from error
    except UnicodeEncodeError as error:
        raise MalformedJSON("a string holds half of a surrogate pair (\\ud800 ... \\udfff)") from error
    except RecursionError as error:
        raise MalformedJSON("the body is nested too deeply") from error
    except ValueError as error:  # also a number too large for a float, which json.loads turns into Infinity
        raise MalformedJSON(f"the body is not JSON: {error}") from error
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _require_json(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise UnsupportedMediaType(f"Content-Encoding is {encoding!r}; send the body as it is, not compressed")
    given = request.headers.get("content-type", "")
    essence = given.split(";")[0].strip().lower()
    if essence != "application/json" and not essence.endswith("+json"):
        raise UnsupportedMediaType(f"Content-Type is {given or 'missing'!r}; send application/json")
