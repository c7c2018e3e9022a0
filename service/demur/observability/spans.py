"""What the spans of an answer say: `answer` -> `generate`, `nli.batch`, `decide`.

Names of attributes are those of OpenTelemetry's conventions for generative AI where it has one, else begin with
`demur.`. Numbers and names alone, unless the operator asked for text (DEMUR_OBSERVABILITY__LOG_PROMPTS).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from demur.observability.tracing import Span
from demur.types import Answer, Answered, Message, Question, Sample, Sampling


def tell_question(span: Span, question: Question) -> None:
    """Of `answer`, when it begins."""
    if span.is_recording:
        span.set(
            {
                "demur.quality": question.quality,
                "demur.policy": question.policy.name,
                "demur.passages": len(question.context),
                "demur.retrieval.attempt": question.retrieval.attempt,
                "demur.prompt": question.text if span.has_text else None,
            }
        )


def tell_answered(span: Span, answered: Answered) -> None:
    """Of `answer`, when it ends."""
    if span.is_recording:
        answer = answered.answer
        span.set(
            {
                "demur.answer.id": answer.id,
                "demur.answer.stored": answered.is_stored,
                "demur.cache": answered.cache.status,
                "demur.answer": answer.text if span.has_text else None,
                "demur.queue_s": answer.work.queue_seconds,
            }
        )
        tell_decision(span, answer)


def tell_decision(span: Span, answer: Answer) -> None:
    """Of `decide`, and of `answer` once more: there it is looked for."""
    if span.is_recording:
        span.set(
            {
                "gen_ai.request.model": answer.model,
                "demur.decision": answer.decision.action.value,
                "demur.reason": answer.decision.reason.value,
                "demur.confidence": answer.confidence,
                "demur.calibrated": answer.is_calibrated,
                "demur.semantic_entropy": answer.uncertainty.semantic_entropy,
                "demur.clusters": answer.uncertainty.num_clusters,
                "demur.groundedness": answer.groundedness,
                "demur.degraded": tuple(reason.value for reason in answer.degraded),
            }
        )


def tell_request(span: Span, model: str, messages: Sequence[Message], sampling: Sampling) -> None:
    """Of `generate`, when it begins. Stop sequences are the caller's words, and are left out with them."""
    if span.is_recording:
        span.set(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": model,
                "gen_ai.request.choice.count": sampling.n,
                "gen_ai.request.temperature": sampling.temperature,
                "gen_ai.request.top_p": sampling.top_p,
                "gen_ai.request.max_tokens": sampling.max_tokens,
                "gen_ai.request.seed": sampling.seed,
                "gen_ai.input.messages": _messages(messages) if span.has_text else None,
            }
        )


def tell_samples(
    span: Span, samples: Sequence[Sample], greedy: Sample | None, n_prompt_tokens: int, n_completion_tokens: int
) -> None:
    """Of `generate`, when it ends."""
    if span.is_recording:
        drawn = [greedy, *samples] if greedy else samples
        span.set(
            {
                "gen_ai.usage.input_tokens": n_prompt_tokens,
                "gen_ai.usage.output_tokens": n_completion_tokens,
                "gen_ai.response.finish_reasons": tuple(sample.finish_reason for sample in drawn),
                "demur.samples": len(samples),
                "gen_ai.output.messages": _answers(drawn) if span.has_text else None,
            }
        )


def _messages(messages: Sequence[Message]) -> str:
    return json.dumps([{"role": m.role, "parts": [{"type": "text", "content": m.content}]} for m in messages])


def _answers(drawn: Sequence[Sample]) -> str:
    said = [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": sample.text}],
            "finish_reason": sample.finish_reason,
        }
        for sample in drawn
    ]
    return json.dumps(said)
