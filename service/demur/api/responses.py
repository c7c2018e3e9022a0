"""What callers get. Entropies are in nats, probabilities in [0, 1]; `null` always means "could not be computed"."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from demur.api.requests import Include
from demur.types import (
    ELSEWHERE,
    Action,
    Answer,
    Answered,
    CacheStatus,
    Degradation,
    Judgement,
    Reason,
    Sample,
    Scope,
    TokenConfidence,
)


class _Wire(BaseModel):
    model_config = ConfigDict(from_attributes=True, ser_json_inf_nan="null")


class PolicyOut(_Wire):
    name: str
    answer_min: float
    answer_min_after_retrieval: float
    retrieve_min: float
    groundedness_min: float | None


class GuaranteeOut(_Wire):
    """With confidence 1 - delta, at most a share alpha of what is answered is wrong."""

    type: Literal["selective_risk"]
    scope: Scope = Field(
        description="closed_book: of first attempts; two_stage: of these and of one retrieval after; cascade: of first "
        "attempts with `sampling.mode: cascade`, with samples and without."
    )
    population: str = Field(description="Names the labelled questions. The promise is about questions like those.")
    alpha: float
    delta: float
    n_calibration: int = Field(description="Labelled questions that the promise was tested on.")
    n_accepted: int = Field(description="How many of them were answered.")
    errors: int = Field(description="How many of those wrongly.")


class CalibrationOut(_Wire):
    id: str
    method: Literal["platt", "isotonic", "fused"]
    n_labels: int
    fitted_at: datetime


class UncertaintyOut(_Wire):
    """All null where no samples were drawn (`sampling_skipped`)."""

    semantic_entropy: float | None = Field(description="Entropy over meanings, in nats; 0 = all samples agree.")
    semantic_entropy_normalized: float | None = Field(description="The same divided by ln(completed), in [0, 1].")
    semantic_entropy_weighted: float | None = Field(description="With meanings weighted by sequence probability.")
    predictive_entropy: float | None = Field(description="Mean negative sequence log-probability, in nats.")
    num_clusters: int | None = Field(description="Distinct meanings among the samples.")
    agreement: float | None = Field(description="Share of samples that mean what the answer means.")
    sample_coverage: float | None = Field(description="Good-Turing share of the answer distribution already seen.")
    refusal_fraction: float | None = Field(description="Share of samples that give no answer.")


class TokenConfidenceOut(_Wire):
    mean: float = Field(description="Mean token probability.")
    min: float = Field(description="Least token probability.")
    sequence_logprob: float
    mean_logprob: float
    perplexity: float
    num_tokens: int
    kind: Literal["greedy", "sampled"] = Field(description="Which answer it describes.")
    source: Literal["raw", "processed", "unknown"] = Field(description="raw: before temperature and top_p.")


class ClusterOut(_Wire):
    index: int
    text: str
    size: int
    mass: float | None = Field(description="Share of probability; null where semantic_entropy_weighted is.")
    sample_indices: list[int]
    non_answer: bool


class TokenOut(_Wire):
    token: str
    logprob: float


class SampleOut(_Wire):
    index: int
    text: str
    finish_reason: Literal["stop", "length"]
    cluster: int | None
    sequence_logprob: float | None
    tokens: list[TokenOut] | None = Field(description='With `include: ["token_logprobs"]`.')


class SamplingOut(_Wire):
    requested: int
    completed: int
    failed: int
    saved: int = Field(
        description="Given up because enough had landed (`sampling.mode: adaptive`), or all of them because the T=0 "
        "answer would do (`cascade`)."
    )
    stopped_early: bool
    truncated: int
    seed: int | None


class JudgementOut(_Wire):
    """How probable it is that the premise entails the hypothesis, that it contradicts it, or neither."""

    premise: int | None = Field(
        description="Index of a sample, the first with its text; null: the T=0 answer, or the answer that is rated."
    )
    hypothesis: int | None
    entailment: float
    neutral: float
    contradiction: float


class VerdictOut(_Wire):
    entailment: float
    neutral: float
    contradiction: float


class NLIOut(_Wire):
    model: str | None = Field(description="null: clustered by normalised exact match.")
    pairs: int = Field(description="Directed pairs asked of the model for this request, and used.")
    pairs_cached: int = Field(description="Pairs used that were remembered, or were just being asked by another.")
    pairs_speculative: int = Field(
        description="Further pairs, asked of the model while samples were drawn, that were not needed in the end."
    )
    truncated: bool
    judgements: list[JudgementOut] | None = Field(description="What joined samples to meanings, and kept them apart.")


class AnswerNLIOut(NLIOut):
    passages: list[VerdictOut | None] = Field(
        description="For each passage, whether its best part entails the answer; null: it was not read."
    )
    contradicts_context: bool = Field(description="No passage entails the answer, and one contradicts it.")


class UsageOut(_Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TimingsOut(_Wire):
    """Seconds. The caller waited `queue_s + generate_s + (nli_s - nli_hidden_s)`, and a little for the decision."""

    queue_s: float = Field(description="Until a place was free.")
    generate_s: float = Field(description="From then until the last sample landed.")
    nli_s: float = Field(description="Entailment: while pairs of this answer were with the NLI model or in its line.")
    nli_hidden_s: float = Field(description="The part of nli_s that lay within generate_s.")
    total_s: float


class CacheOut(_Wire):
    status: CacheStatus = Field(description="`shared`: another request was just asking the same.")
    age_s: float = Field(description="Since the answer was put away.")
    ttl_s: float = Field(description="How long it is remembered from then on; 0: it is not.")


class VerdictResponse(_Wire):
    """An answer, the evidence for it, and what to do with it."""

    id: str
    object: str
    created: int = Field(description="Unix time, in seconds.")
    model: str | None
    answer: str | None
    decision: Action
    reason: Reason
    policy: PolicyOut
    guarantee: GuaranteeOut | None = Field(description="null unless the thresholds are certified for this caller.")
    confidence: float = Field(description="P(correct) where `calibrated`; else `agreement`.")
    calibrated: bool
    calibration: CalibrationOut | None = Field(description="The profile behind `confidence`; null where uncalibrated.")
    uncertainty: UncertaintyOut
    token_confidence: TokenConfidenceOut | None
    groundedness: float | None = Field(description="Entailment of the answer by the passages; null without any.")
    clusters: list[ClusterOut] | None
    greedy: SampleOut | None = Field(description='The T=0 answer, with `include: ["samples"]`.')
    samples: list[SampleOut] | None
    token_logprobs: list[TokenOut] | None = Field(description="Tokens of the answer that token_confidence describes.")
    sampling: SamplingOut
    nli: AnswerNLIOut | None
    cache: CacheOut
    stored: bool = Field(description="Whether a durable record was kept, so that feedback on it will not be lost.")
    usage: UsageOut
    degraded: list[Degradation] = Field(description="Why a number is null, or weaker than usual.")
    timings: TimingsOut | None
    metadata: dict[str, str]

    @classmethod
    def from_domain(cls, answered: Answered, include: list[Include], abstain_text: str, **more: Any) -> Self:
        """`include` names the parts to send; the others are null. `more`: what only a subclass has."""
        answer, use = answered.answer, answered.cache
        question, tokens = answer.question, "token_logprobs" in include
        return cls(
            id=answer.id,
            created=answer.created,
            model=None if answer.model == ELSEWHERE else answer.model,
            answer=shown_text(answer, abstain_text, answer.text),
            decision=answer.decision.action,
            reason=answer.decision.reason,
            policy=PolicyOut.model_validate(answer.policy),
            guarantee=GuaranteeOut.model_validate(answer.guarantee) if answer.guarantee else None,
            confidence=answer.confidence,
            calibrated=answer.is_calibrated,
            calibration=CalibrationOut.model_validate(answer.calibration) if answer.calibration else None,
            uncertainty=UncertaintyOut.model_validate(answer.uncertainty),
            token_confidence=_optional_token_confidence(answer.token_confidence),
            groundedness=answer.groundedness,
            clusters=[ClusterOut.model_validate(c) for c in answer.clusters] if "clusters" in include else None,
            greedy=_greedy(answer, tokens) if "samples" in include else None,
            samples=_samples(answer, tokens) if "samples" in include else None,
            token_logprobs=_tokens(answer.greedy or answer.chosen) if tokens else None,
            sampling=_sampling(answer),
            nli=_nli(answer) if "nli" in include else None,
            cache=CacheOut(status=use.status, age_s=use.age_seconds, ttl_s=use.ttl_seconds),
            stored=answered.is_stored,
            usage=_usage(answer),
            degraded=list(answer.degraded),
            timings=_timings(answer) if "timings" in include else None,
            metadata=dict(question.metadata),
            **more,
        )


class AnswerResponse(VerdictResponse):
    """The answer, the evidence for it, and what to do with it."""

    object: Literal["answer"] = "answer"
    model: str


def shown_text(answer: Answer, abstain_text: str, text: str) -> str | None:
    """`text`, or what the question wants in its place where the decision is to abstain."""
    if answer.decision.action is not Action.ABSTAIN or answer.question.on_abstain == "annotate":
        return text
    return abstain_text if answer.question.on_abstain == "replace" else None


def _optional_token_confidence(confidence: TokenConfidence | None) -> TokenConfidenceOut | None:
    return TokenConfidenceOut.model_validate(confidence) if confidence else None


def _tokens(sample: Sample) -> list[TokenOut] | None:
    if not sample.tokens or not sample.token_logprobs:
        return None
    pairs = zip(sample.tokens, sample.token_logprobs, strict=True)
    return [TokenOut(token=token, logprob=logprob) for token, logprob in pairs]


def _sample(sample: Sample, cluster: int | None, with_tokens: bool) -> SampleOut:
    return SampleOut(
        index=sample.index,
        text=sample.text,
        finish_reason=sample.finish_reason,
        cluster=cluster,
        sequence_logprob=sample.sequence_logprob,
        tokens=_tokens(sample) if with_tokens else None,
    )


def _samples(answer: Answer, with_tokens: bool) -> list[SampleOut]:
    placed = zip(answer.samples, answer.semantic_ids, strict=True)
    return [_sample(sample, cluster, with_tokens) for sample, cluster in placed]


def _greedy(answer: Answer, with_tokens: bool) -> SampleOut | None:
    return _sample(answer.greedy, answer.greedy_cluster, with_tokens) if answer.greedy else None


def _sampling(answer: Answer) -> SamplingOut:
    requested, completed = answer.question.sampling.n, len(answer.samples)
    return SamplingOut(
        requested=requested,
        completed=completed,
        failed=requested - completed - answer.work.n_samples_saved,
        saved=answer.work.n_samples_saved,
        stopped_early=answer.work.n_samples_saved > 0,
        truncated=sum(s.is_truncated for s in answer.samples),
        seed=answer.question.sampling.seed,
    )


def _nli(answer: Answer) -> AnswerNLIOut:
    work = answer.work
    return AnswerNLIOut(
        model=answer.nli_model,
        pairs=work.n_pairs,
        pairs_cached=work.n_pairs_cached,
        pairs_speculative=work.n_pairs_speculative,
        truncated=work.nli_truncated,
        judgements=shown_judgements(answer.judgements),
        passages=[VerdictOut.model_validate(v) if v else None for v in answer.passage_verdicts],
        contradicts_context=answer.contradicts_context,
    )


def shown_judgements(judgements: Iterable[Judgement]) -> list[JudgementOut]:
    return [
        JudgementOut(
            premise=judgement.premise,
            hypothesis=judgement.hypothesis,
            entailment=judgement.verdict.entailment,
            neutral=judgement.verdict.neutral,
            contradiction=judgement.verdict.contradiction,
        )
        for judgement in judgements
    ]


def _usage(answer: Answer) -> UsageOut:
    prompt, completion = answer.work.n_prompt_tokens, answer.work.n_completion_tokens
    return UsageOut(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def _timings(answer: Answer) -> TimingsOut:
    work = answer.work
    return TimingsOut(
        queue_s=work.queue_seconds,
        generate_s=work.generate_seconds,
        nli_s=work.nli_seconds,
        nli_hidden_s=work.nli_hidden_seconds,
        total_s=work.total_seconds,
    )
