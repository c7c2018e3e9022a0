"""`/v1/answers/{id}`: a stored answer, shown or forgotten."""

from __future__ import annotations

from fastapi import APIRouter, Response

from demur.api.desk import DeskDep
from demur.api.guard import requires
from demur.api.reading import StrictRoute
from demur.api.stored import StoredAnswerResponse, StoreDep
from demur.api.tenant import TenantDep
from demur.errors import NotFound

router = APIRouter(route_class=StrictRoute, tags=["records"])


@router.get("/v1/answers/{answer_id}", dependencies=[requires("answer")])
async def get_answer(answer_id: str, store: StoreDep, tenant: TenantDep) -> StoredAnswerResponse:
    """A stored answer of yours."""
    return StoredAnswerResponse.from_domain(await store.get_answer(answer_id, tenant=tenant))


@router.delete("/v1/answers/{answer_id}", status_code=204, dependencies=[requires("answer")])
async def delete_answer(answer_id: str, store: StoreDep, desk: DeskDep) -> Response:
    """Forget an answer of yours, with all feedback on it; it is not used again for the same question either."""
    was_remembered = await desk.answering.forget(answer_id, desk.tenant)
    try:
        await store.delete_answer(answer_id, tenant=desk.tenant)
    except NotFound:
        if not was_remembered:
            raise
    return Response(status_code=204)
