"""Every route of an application with what its callers need, read from the routes themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route

from demur.access.gate import Need
from demur.api.guard import guard_of


@dataclass(frozen=True)
class Endpoint:
    """One method of one path. `need` is None where nobody decided."""

    method: str
    path: str
    need: Need | None
    reads_body: bool

    @property
    def sample_path(self) -> str:
        """With something in the place of each parameter."""
        return re.sub(r"\{[^}]*\}", "x", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def endpoints(app: FastAPI) -> list[Endpoint]:
    found: list[Endpoint] = []
    for route in _routes(app.routes):
        guard = guard_of(route) if isinstance(route, APIRoute) else None
        reads_body = isinstance(route, APIRoute) and route.body_field is not None
        methods = sorted(set(route.methods or ()) - {"HEAD"})
        found += [Endpoint(method, route.path, guard.need if guard else None, reads_body) for method in methods]
    return found


def _routes(routes: Any) -> Iterator[Route]:
    """Routers may hold routers; what is neither a route nor a router would hide from these tests."""
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if isinstance(route, Route):
            yield route
        elif inner is not None:
            yield from _routes(inner)
        else:
            raise AssertionError(f"what is {route!r}, and who may call it? ({inspect.getmodule(type(route))})")
