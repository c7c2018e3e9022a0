"""What the routes that judge answers work with, as one dependency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from demur.api.tenant import get_tenant
from demur.engine.answering import Answering
from demur.engine.engine import Engine
from demur.engine.forwarding import Forwarding
from demur.settings import DefaultsSettings


@dataclass(frozen=True, slots=True)
class Desk:
    """Parts of the service, and whose request lies on it: the id of an API key."""

    engine: Engine
    answering: Answering
    forwarding: Forwarding
    defaults: DefaultsSettings
    tenant: str


async def get_desk(request: Request) -> Desk:
    state, tenant = request.app.state, await get_tenant(request)
    return Desk(state.engine, state.answering, state.forwarding, state.settings.defaults, tenant)


DeskDep = Annotated[Desk, Depends(get_desk)]
