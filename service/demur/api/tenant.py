"""Whose request it is. Dependencies are coroutines: plain functions would each be sent to a thread and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from demur.types import ANONYMOUS


async def get_tenant(request: Request) -> str:
    """The id of the API key; `anonymous` where there are no keys."""
    tenant: str = request.scope.get("demur.tenant", ANONYMOUS)
    return tenant


async def get_reach(request: Request, tenant: Annotated[str, Depends(get_tenant)]) -> str | None:
    """Whose answers may be labelled: the caller's own; with the scope `admin` anybody's (None), as audits need."""
    scopes: frozenset[str] = request.scope.get("demur.scopes", frozenset())
    return None if "admin" in scopes else tenant


TenantDep = Annotated[str, Depends(get_tenant)]
ReachDep = Annotated[str | None, Depends(get_reach)]
