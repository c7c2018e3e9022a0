"""What is kept: frozen values, each with the fields that a later calibration, label or audit needs, and no more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from demur.calibration.profile import ProfileKey
from demur.types import (
    Action,
    Answer,
    AnswerStrategy,
    Degradation,
    Message,
    Passage,
    Policy,
    Reason,
    Retrieval,
    Sample,
    Sampling,
    Scope,
    SignalName,
    TokenConfidence,
    Uncertainty,
)

FeedbackLabel = Literal["correct", "incorrect", "partial"]
FeedbackSource = Literal["audit", "human", "grader", "implicit"]


@dataclass(frozen=True, slots=True)
class KeptCluster:
    """A meaning without its words: samples, share of probability (None where unknown), whether it is a non-answer."""

    size: int
    mass: float | None
    non_answer: bool


@dataclass(frozen=True, slots=True)
class KeptText:
    """The words of an exchange, kept only for audits and where the operator asked for it."""

    messages: tuple[Message, ...]
    context: tuple[Passage, ...]
    answer: str
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """An answer's evidence and decision. Entropies in nats, shares in [0, 1], `created` in Unix seconds.

    `profile` names what the numbers depend on beside the sampling: models, revisions, clustering, versions.
    `sample_logprobs` are those of whole samples, in nats. `user` is a hash. `is_audit`: drawn at random for labelling.
    `signals` is what a calibration reads, and `key` all that they depend on, kept where texts are; `calibration_id`
    names the one that spoke, `certificate` the promise that was given.
    """

    id: str
    tenant: str
    created: int
    model: str
    nli_model: str | None
    quality: str
    decision: Action
    reason: Reason
    confidence: float
    is_calibrated: bool
    policy: Policy
    retrieval: Retrieval
    sampling: Sampling
    answer_strategy: AnswerStrategy
    n_passages: int
    uncertainty: Uncertainty
    token_confidence: TokenConfidence | None
    groundedness: float | None
    clusters: tuple[KeptCluster, ...]
    semantic_ids: tuple[int, ...]
    chosen_cluster: int | None
    greedy_cluster: int | None
    sample_logprobs: tuple[float | None, ...]
    degraded: tuple[Degradation, ...]
    profile: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    is_audit: bool = False
    text: KeptText | None = None
    signals: Mapping[SignalName, float] = field(default_factory=dict)
    key: ProfileKey | None = None
    calibration_id: str | None = None
    certificate: Scope | None = None

    @classmethod
    def of(
        cls, answer: Answer, profile: Mapping[str, str], key: ProfileKey, *, is_audit: bool, keep_text: bool
    ) -> AnswerRecord:
        """What is kept of `answer`; an audit keeps its text whatever `keep_text` says."""
        question, has_text = answer.question, keep_text or is_audit
        return cls(
            id=answer.id,
            tenant=question.tenant,
            created=answer.created,
            model=answer.model,
            nli_model=answer.nli_model,
            quality=question.quality,
            decision=answer.decision.action,
            reason=answer.decision.reason,
            confidence=answer.confidence,
            is_calibrated=answer.is_calibrated,
            policy=answer.policy,
            retrieval=question.retrieval,
            sampling=question.sampling if has_text else replace(question.sampling, stop=()),
            answer_strategy=question.answer_strategy,
            n_passages=len(question.context),
            uncertainty=answer.uncertainty,
            token_confidence=answer.token_confidence,
            groundedness=answer.groundedness,
            clusters=tuple(KeptCluster(c.size, c.mass, c.non_answer) for c in answer.clusters),
            semantic_ids=answer.semantic_ids,
            chosen_cluster=_chosen_cluster(answer),
            greedy_cluster=answer.greedy_cluster,
            sample_logprobs=tuple(map(_finite_logprob, answer.samples)),
            degraded=answer.degraded,
            profile=dict(profile),
            metadata=dict(question.metadata),
            user=question.user,
            is_audit=is_audit,
            text=_text(answer) if has_text else None,
            signals=answer.signals,
            key=key if has_text else None,  # stop strings are words
            calibration_id=answer.calibration.id if answer.calibration else None,
            certificate=answer.guarantee.scope if answer.guarantee else None,
        )


def _chosen_cluster(answer: Answer) -> int | None:
    if answer.chosen.is_greedy:
        return answer.greedy_cluster
    placed = zip(answer.samples, answer.semantic_ids, strict=True)
    return next((cluster for sample, cluster in placed if sample.index == answer.chosen.index), None)


def _finite_logprob(sample: Sample) -> float | None:
    logprob = sample.sequence_logprob
    return logprob if logprob is not None and math.isfinite(logprob) else None


def _text(answer: Answer) -> KeptText:
    question = answer.question
    return KeptText(question.messages, question.context, answer.text, tuple(c.text for c in answer.clusters))


@dataclass(frozen=True, slots=True)
class Feedback:
    """Somebody's word on an answer: a label, or a score in [0, 1]. `key` is the id of the API key that gave it.

    One word per (answer, source, key): a later one takes the place of an earlier one.
    """

    answer_id: str
    source: FeedbackSource
    key: str
    created: int
    label: FeedbackLabel | None = None
    score: float | None = None
    reference: str | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        if (self.label is None) == (self.score is None):
            raise ValueError("feedback is either a label or a score")


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """A record with everything that was said about it."""

    record: AnswerRecord
    feedback: tuple[Feedback, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted profile, as a JSON document, for answers with that profile key."""

    id: str
    profile_key: str
    created: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Suspension:
    """A certificate that audits contradict: of `n_answered` audited answers given under it, `errors` were wrong.

    `evidence` is the natural logarithm of the e-value against an error rate of at most `alpha`, and reached `needed`.
    """

    calibration_id: str
    scope: Scope
    created: int
    alpha: float
    n_answered: int
    errors: int
    evidence: float
    needed: float
