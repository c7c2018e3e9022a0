"""`/v1/feedback`: what people and graders say about answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.openapi.models import Example
from pydantic import ConfigDict, Field, model_validator

from demur.api.guard import requires
from demur.api.reading import StrictRoute
from demur.api.stored import After, FeedbackList, FeedbackResponse, Limit, StoreDep
from demur.api.tenant import ReachDep, TenantDep
from demur.api.wire import Wire
from demur.errors import DemurError, FieldError, StoreFull, StoreUnavailable, ValidationFailed
from demur.observability.metrics import Metrics
from demur.recalibration.retesting import Retesting
from demur.storage.records import Feedback, FeedbackLabel, FeedbackSource

EXAMPLES: dict[str, Example] = {
    "label": {
        "summary": "It was wrong",
        "value": {"answer_id": "ans_01KAQ3M5XV9V3T1N0S8W4Z7YQ2", "label": "incorrect", "reference": "Lima"},
    },
    "score": {
        "summary": "A grader's score",
        "value": {"answer_id": "ans_01KAQ3M5XV9V3T1N0S8W4Z7YQ2", "score": 0.75, "source": "grader"},
    },
}

router = APIRouter(route_class=StrictRoute, tags=["records"])


class FeedbackRequest(Wire):
    """Exactly one of `label` and `score`. A later word of the same key and source takes the place of an earlier one."""

    model_config = ConfigDict(extra="forbid")

    answer_id: str = Field(min_length=1, max_length=64, description="`id` of an answer that was `stored`.")
    label: FeedbackLabel | None = None
    score: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="0 = wrong, 1 = right.")
    source: FeedbackSource = Field(
        "human", description="audit: the label of an answer that was drawn for it; implicit: guessed from behaviour."
    )
    reference: str | None = Field(None, max_length=8000, description="The right answer.")
    comment: str | None = Field(None, max_length=2000)

    @model_validator(mode="after")
    def _one_verdict(self) -> FeedbackRequest:
        if (self.label is None) == (self.score is None):
            raise ValueError("send exactly one of `label` and `score`")
        return self

    def to_domain(self, key: str, now: datetime) -> Feedback:
        return Feedback(
            answer_id=self.answer_id,
            source=self.source,
            key=key,
            created=int(now.timestamp()),
            label=self.label,
            score=self.score,
            reference=self.reference,
            comment=self.comment,
        )


@router.post("/v1/feedback", status_code=202, dependencies=[requires("feedback")])
async def give_feedback(
    body: Annotated[FeedbackRequest, Body(openapi_examples=EXAMPLES)],
    request: Request,
    store: StoreDep,
    tenant: TenantDep,
    reach: ReachDep,
) -> FeedbackResponse:
    """Say whether an answer was right. Accepted once it is durable: 503 `store-unavailable` where it cannot be kept."""
    metrics: Metrics = request.app.state.metrics
    feedback = body.to_domain(tenant, datetime.now(UTC))
    try:
        record = await store.get_answer(feedback.answer_id, tenant=reach)
        if feedback.source == "audit" and not record.is_audit:
            raise ValidationFailed(FieldError("/source", "this answer was not drawn for an audit"))
        await store.add_feedback(feedback, tenant=reach)
    except (StoreUnavailable, StoreFull) as error:
        _count(metrics, error)
        raise
    _count(metrics, None)
    request.app.state.reliability.hear(record, feedback)
    if feedback.source == "audit":
        retesting: Retesting = request.app.state.retesting
        retesting.poke()
    return FeedbackResponse.from_domain(feedback)


def _count(metrics: Metrics, error: DemurError | None) -> None:
    metrics.store_writes.labels("feedback", error.code if error else "ok").inc()


@router.get("/v1/feedback", dependencies=[requires("admin")])
async def list_feedback(store: StoreDep, after: After = None, limit: Limit = 100) -> FeedbackList:
    """All feedback, on the newest answers first."""
    page = await store.list_feedback(after=after, limit=limit)
    return FeedbackList(data=[FeedbackResponse.from_domain(each) for each in page.items], next=page.next)
