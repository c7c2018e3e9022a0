"""A chat completion with its verdict. `uncertainty` has what `/v1/answer` says, less what a completion says already."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from demur.api.chat_requests import QUALITIES, ChatRequest
from demur.api.responses import AnswerResponse, shown_text
from demur.types import Answer, Answered, Sample

_SAID_ELSEWHERE = {"answer", "object", "created", "model", "usage"}


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow")  # what is handed on has whatever the model's server says


class ChatMessage(_Wire):
    role: str
    content: str | list[Any] | None = None
    refusal: str | None = Field(None, description="Kept for what the model refuses to say, not for what it knows.")


class ChatChoice(_Wire):
    index: int
    message: ChatMessage
    finish_reason: str | None
    logprobs: dict[str, Any] | None = None


class ChatUsage(_Wire):
    """All that was drawn for the verdict, not only what is shown."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    uncertainty_samples: int | None = Field(None, description="Samples behind the verdict.")


class ChatCompletion(_Wire):
    """As OpenAI has it, and `uncertainty`."""

    id: str = Field(description="Of a scored completion: the answer's, which feedback names.")
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage | None = None
    uncertainty: dict[str, Any] | None = Field(
        description="The body of `/v1/answer` less `answer`, `model` and `usage`; `ignored` names fields that changed "
        "nothing. null: not scored, and `uncertainty_skipped` says why."
    )
    uncertainty_skipped: str | None = None


class ModelOut(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["demur"] = "demur"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelOut]


def model_list(model: str) -> ModelList:
    """The served model, and what it is called with each number of samples."""
    now = int(datetime.now(UTC).timestamp())
    return ModelList(data=[ModelOut(id=name, created=now) for name in (model, *(f"{model}@{q}" for q in QUALITIES))])


def completion(answered: Answered, asked: ChatRequest, abstain_text: str, *, passes_on: bool) -> ChatCompletion:
    """A scored completion: `n` choices, of which the first is the answer."""
    answer = answered.answer
    choices = [
        ChatChoice(
            index=index,
            message=ChatMessage(role="assistant", content=shown_text(answer, abstain_text, sample.text)),
            finish_reason=sample.finish_reason,
            logprobs=_logprobs(sample) if asked.logprobs else None,
        )
        for index, sample in zip(range(asked.n or 1), _chosen_first(answer), strict=False)
    ]
    return ChatCompletion(
        id=answer.id,
        object="chat.completion",
        created=answer.created,
        model=answer.model,
        choices=choices,
        usage=usage(answer),
        uncertainty=verdict(answered, asked, abstain_text, passes_on=passes_on),
    )


def usage(answer: Answer) -> ChatUsage | None:
    """None where the language model's server does not count: 0 would be a lie."""
    if any(s.n_prompt_tokens is None or s.n_completion_tokens is None for s in answer.samples):
        return None
    prompt, drawn = answer.work.n_prompt_tokens, answer.work.n_completion_tokens
    return ChatUsage(
        prompt_tokens=prompt,
        completion_tokens=drawn,
        total_tokens=prompt + drawn,
        uncertainty_samples=len(answer.samples),
    )


def verdict(answered: Answered, asked: ChatRequest, abstain_text: str, *, passes_on: bool) -> dict[str, Any]:
    body = AnswerResponse.from_domain(answered, asked.options.include, abstain_text)
    return body.model_dump(mode="json", exclude=_SAID_ELSEWHERE) | {"ignored": asked.ignored(passes_on=passes_on)}


def _chosen_first(answer: Answer) -> Iterator[Sample]:
    """The answer, then the samples of the heaviest meanings."""
    sizes = {cluster.index: cluster.size for cluster in answer.clusters}
    yield answer.chosen
    placed = sorted(zip(answer.semantic_ids, answer.samples, strict=True), key=lambda p: (-sizes[p[0]], p[1].index))
    yield from (sample for _, sample in placed if sample != answer.chosen)


def _logprobs(sample: Sample) -> dict[str, Any] | None:
    if not sample.tokens or not sample.token_logprobs:
        return None
    pairs = zip(sample.tokens, sample.token_logprobs, strict=True)
    return {"content": [{"token": t, "logprob": p, "bytes": None, "top_logprobs": []} for t, p in pairs]}
