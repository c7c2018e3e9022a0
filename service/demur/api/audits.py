"""`/v1/audits`: answers drawn at random for labelling. Label them with `/v1/feedback`, source `audit`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from demur.api.guard import requires
from demur.api.reading import StrictRoute
from demur.api.stored import After, AuditList, AuditResponse, Limit, StoreDep
from demur.storage.records import LabelledAnswer

router = APIRouter(route_class=StrictRoute, tags=["records"])

Labelled = Annotated[
    bool | None, Query(description="Only those with, or without, a label of source `audit`; pages may then be short.")
]


@router.get("/v1/audits", dependencies=[requires("admin")])
async def list_audits(store: StoreDep, after: After = None, limit: Limit = 100, labelled: Labelled = None) -> AuditList:
    """Answers drawn for labelling (DEMUR_AUDIT__RATE), of all keys, with their texts; the newest first."""
    page = await store.list_audits(after=after, limit=limit)
    wanted = [each for each in page.items if labelled in (None, _is_labelled(each))]
    return AuditList(data=[AuditResponse.from_labelled(each) for each in wanted], next=page.next)


def _is_labelled(answer: LabelledAnswer) -> bool:
    return any(each.source == "audit" for each in answer.feedback)
