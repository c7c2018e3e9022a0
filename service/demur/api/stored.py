"""What is shown of stored records. `null` for a text means that it was not kept."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from demur.api.responses import PolicyOut, TokenConfidenceOut, UncertaintyOut
from demur.storage.base import MAX_PAGE, Store
from demur.storage.records import AnswerRecord, Feedback, FeedbackLabel, FeedbackSource, KeptText, LabelledAnswer
from demur.types import Action, Degradation, Reason, Role


async def get_store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


StoreDep = Annotated[Store, Depends(get_store)]
After = Annotated[str | None, Query(max_length=1024, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most so many on a page.")]


class _Wire(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class StoredMessageOut(_Wire):
    role: Role
    content: str


class StoredPassageOut(_Wire):
    text: str
    id: str | None
    title: str | None
    score: float | None


class StoredClusterOut(_Wire):
    text: str | None
    size: int
    mass: float | None
    non_answer: bool


class StoredSamplingOut(_Wire):
    requested: int
    completed: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None


class StoredAnswerResponse(_Wire):
    """A kept answer: the evidence and the decision; the texts only for audits and with DEMUR_STORE__TEXT."""

    id: str
    object: Literal["answer_record"] = "answer_record"
    created: int = Field(description="Unix time, in seconds.")
    model: str
    nli_model: str | None
    messages: list[StoredMessageOut] | None
    context: list[StoredPassageOut] | None
    answer: str | None
    decision: Action
    reason: Reason
    policy: PolicyOut
    confidence: float
    calibrated: bool
    uncertainty: UncertaintyOut
    token_confidence: TokenConfidenceOut | None
    groundedness: float | None
    clusters: list[StoredClusterOut]
    sampling: StoredSamplingOut
    degraded: list[Degradation]
    metadata: dict[str, str]
    audit: bool = Field(description="Drawn at random for labelling.")

    @classmethod
    def from_domain(cls, record: AnswerRecord) -> StoredAnswerResponse:
        text = record.text
        return cls(
            id=record.id,
            created=record.created,
            model=record.model,
            nli_model=record.nli_model,
            messages=[StoredMessageOut.model_validate(m) for m in text.messages] if text else None,
            context=[StoredPassageOut.model_validate(p) for p in text.context] if text else None,
            answer=text.answer if text else None,
            decision=record.decision,
            reason=record.reason,
            policy=PolicyOut.model_validate(record.policy),
            confidence=record.confidence,
            calibrated=record.is_calibrated,
            uncertainty=UncertaintyOut.model_validate(record.uncertainty),
            token_confidence=_token_confidence(record),
            groundedness=record.groundedness,
            clusters=_clusters(record, text),
            sampling=_sampling(record),
            degraded=list(record.degraded),
            metadata=dict(record.metadata),
            audit=record.is_audit,
        )


class FeedbackResponse(_Wire):
    """What was said about an answer."""

    object: Literal["feedback"] = "feedback"
    answer_id: str
    source: FeedbackSource
    key: str = Field(description="Id of the API key that gave it.")
    created: int = Field(description="Unix time, in seconds.")
    label: FeedbackLabel | None
    score: float | None
    reference: str | None
    comment: str | None

    @classmethod
    def from_domain(cls, feedback: Feedback) -> FeedbackResponse:
        return cls.model_validate(feedback)


class FeedbackList(_Wire):
    object: Literal["list"] = "list"
    data: list[FeedbackResponse]
    next: str | None = Field(description="Send it as `after` to get the next page; null: this is the last one.")


class AuditResponse(StoredAnswerResponse):
    """An answer drawn for labelling, and what was said about it."""

    feedback: list[FeedbackResponse]

    @classmethod
    def from_labelled(cls, labelled: LabelledAnswer) -> AuditResponse:
        shown = StoredAnswerResponse.from_domain(labelled.record)
        said = [FeedbackResponse.from_domain(each) for each in labelled.feedback]
        return cls(**shown.model_dump(), feedback=said)


class AuditList(_Wire):
    object: Literal["list"] = "list"
    data: list[AuditResponse]
    next: str | None = Field(description="Send it as `after` to get the next page; null: this is the last one.")


def _token_confidence(record: AnswerRecord) -> TokenConfidenceOut | None:
    kept = record.token_confidence
    return TokenConfidenceOut.model_validate(kept) if kept else None


def _clusters(record: AnswerRecord, text: KeptText | None) -> list[StoredClusterOut]:
    texts = text.clusters if text else (None,) * len(record.clusters)
    pairs = zip(record.clusters, texts, strict=True)
    return [StoredClusterOut(text=t, size=c.size, mass=c.mass, non_answer=c.non_answer) for c, t in pairs]


def _sampling(record: AnswerRecord) -> StoredSamplingOut:
    asked = record.sampling
    return StoredSamplingOut(
        requested=asked.n,
        completed=len(record.semantic_ids),
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_tokens,
        seed=asked.seed,
    )
