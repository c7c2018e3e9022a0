"""What an answer may be asked with, and the body that is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Quality = Literal["fast", "balanced", "thorough"]
Include = Literal["samples", "clusters", "token_logprobs", "nli", "timings"]


class MessageOption(TypedDict):
    role: Literal["system", "user", "assistant", "developer"]
    content: str


class PassageOption(TypedDict, total=False):
    text: str
    id: str | None
    title: str | None
    score: float | None


class SamplingOption(TypedDict, total=False):
    n: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: Sequence[str]
    seed: int | None
    mode: Literal["fixed", "adaptive", "cascade"]
    min_n: int | None


class PolicyOption(TypedDict, total=False):
    answer_min: float
    answer_min_after_retrieval: float
    retrieve_min: float
    groundedness_min: float | None


class RetrievalOption(TypedDict, total=False):
    available: bool
    attempt: int
    max_attempts: int
    id: str | None


class CacheOption(TypedDict, total=False):
    mode: Literal["default", "bypass", "refresh", "only"]
    ttl_s: int | None


Passage = str | PassageOption
"""A passage, or only its text."""


class QuestionOptions(TypedDict, total=False):
    """Everything beside the question; what is left out is the service's default (see its /docs).

    `idempotency_key`: the work is done once, however often it is asked for with this key; refused while the service
    has no store to remember it in.
    """

    model: str
    context: Sequence[Passage]
    quality: Quality
    sampling: SamplingOption
    policy: Literal["default"] | PolicyOption
    retrieval: RetrievalOption
    on_abstain: Literal["annotate", "replace", "omit"]
    include: Sequence[Include]
    timeout_s: float
    on_deadline: Literal["partial", "error"]
    strict: bool
    idempotency_key: str
    extra_body: Mapping[str, Any]


class AnswerOptions(QuestionOptions, total=False):
    """What a question for an answer may have beside."""

    answer_strategy: Literal["auto", "mode", "greedy"]
    cache: CacheOption
    metadata: Mapping[str, str]
    user: str


class ScoreOptions(QuestionOptions, total=False):
    """With `samples` of your own no language model is called. Log-probabilities are natural, and the model's own."""

    samples: Sequence[str]
    sample_logprobs: Sequence[Sequence[float]]
    answer_logprobs: Sequence[float]


class ClusterOptions(TypedDict, total=False):
    """`prompt`: the question that the texts answer; `weights`: one for each text."""

    prompt: str
    weights: Sequence[float]
    include: Sequence[Literal["judgements"]]
    timeout_s: float
    idempotency_key: str
    extra_body: Mapping[str, Any]


class CalibrationOptions(TypedDict, total=False):
    """What to learn from, and what to promise; see `POST /v1/calibrations` of the service."""

    source: Literal["audits", "dataset"]
    dataset: Mapping[str, Any]
    profile_key: str
    model: str
    method: Literal["auto", "platt", "isotonic", "fused"]
    max_risk: float
    delta: float
    certificate: bool
    population: str
    retrieval_id: str
    retrieval_cost: float
    wrong_cost: float
    cascade: bool
    activate: bool


_NOT_AS_THEY_ARE = {"context", "extra_body", "idempotency_key"}


def question_body(
    prompt: str | None, messages: Sequence[MessageOption] | None, options: AnswerOptions | ScoreOptions
) -> dict[str, Any]:
    """A question and its options. Raises: TypeError unless there is exactly one of prompt and messages."""
    if (prompt is None) == (messages is None):
        raise TypeError("give either a prompt or messages")
    body: dict[str, Any] = {"prompt": prompt} if messages is None else {"messages": list(messages)}
    body.update({name: value for name, value in options.items() if name not in _NOT_AS_THEY_ARE})
    if passages := options.get("context"):
        body["context"] = [{"text": passage} if isinstance(passage, str) else passage for passage in passages]
    return body | dict(options.get("extra_body", {}))


def cluster_body(texts: Sequence[str], options: ClusterOptions) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if name not in _NOT_AS_THEY_ARE}
    return {"texts": list(texts), **given, **options.get("extra_body", {})}
