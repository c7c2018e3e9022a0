"""Each route names what a caller needs: `dependencies=[requires("answer")]`, or `[open_to_all]`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from demur.access.gate import Gate, Need

_bearer = HTTPBearer(auto_error=False, description="An API key, where the service has any.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, for clients that cannot send Bearer.")


class Guard:
    """A dependency that admits a caller once per request, and leaves tenant and scopes in the request's scope."""

    def __init__(self, need: Need) -> None:
        self.need = need

    async def admit(self, request: Request) -> None:
        """Raises Unauthenticated, Forbidden, RateLimited."""
        if "demur.tenant" not in request.scope:
            gate: Gate = request.app.state.gate
            caller = await gate.admit(request.headers, self.need)
            request.scope["demur.tenant"], request.scope["demur.scopes"] = caller.tenant, caller.scopes


class OpenGuard(Guard):
    async def __call__(self, request: Request) -> None:
        await self.admit(request)


class KeyGuard(Guard):
    """The credentials are read by the gate; they are named here so that OpenAPI tells of them."""

    async def __call__(
        self,
        request: Request,
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        _header: Annotated[str | None, Security(_header)],
    ) -> None:
        await self.admit(request)


def requires(need: Need) -> Any:
    return Dependency(KeyGuard(need))


open_to_all: Any = Dependency(OpenGuard("nothing"))


def guard_of(route: APIRoute) -> Guard | None:
    named: list[Any] = [dependency.dependency for dependency in route.dependencies]
    return next((guard for guard in named if isinstance(guard, Guard)), None)
