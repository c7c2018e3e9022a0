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


class AnswerOptions(TypedDict, total=False):
    """Everything beside the question; what is left out is the service's default (see its /docs).

    `idempotency_key`: the work is done once, however often it is asked for with this key; refused while the service
    has no store to remember it in.
    """

    model: str
    context: Sequence[Passage]
    quality: Quality
    sampling: SamplingOption
    answer_strategy: Literal["auto", "mode", "greedy"]
    policy: Literal["default"] | PolicyOption
    retrieval: RetrievalOption
    on_abstain: Literal["annotate", "replace", "omit"]
    cache: CacheOption
    include: Sequence[Include]
    timeout_s: float
    on_deadline: Literal["partial", "error"]
    strict: bool
    metadata: Mapping[str, str]
    user: str
    idempotency_key: str
    extra_body: Mapping[str, Any]


_NOT_AS_THEY_ARE = {"context", "extra_body", "idempotency_key"}


def answer_body(prompt: str | None, messages: Sequence[MessageOption] | None, options: AnswerOptions) -> dict[str, Any]:
    """The body of `POST /v1/answer`. Raises: TypeError unless there is exactly one of prompt and messages."""
    if (prompt is None) == (messages is None):
        raise TypeError("give either a prompt or messages")
    body: dict[str, Any] = {"prompt": prompt} if messages is None else {"messages": list(messages)}
    body.update({name: value for name, value in options.items() if name not in _NOT_AS_THEY_ARE})
    if passages := options.get("context"):
        body["context"] = [{"text": passage} if isinstance(passage, str) else passage for passage in passages]
    return body | dict(options.get("extra_body", {}))
