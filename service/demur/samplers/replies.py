"""Completions as servers really send them: read strictly where numbers are concerned, tolerantly elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demur.errors import BackendError
from demur.estimators.logprobs import are_usable
from demur.samplers.reasoning import first_answer_token, strip_reasoning


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion, thinking removed. `tokens` and `logprobs` are both there (and as long) or both None.

    `n_tokens` counts the thinking, too, and is None where the server tells nothing; without `has_own_count` it is an
    even share of what the call took, or leaves out the thinking. `first_top` are the logprobs of the likeliest first
    tokens, the thinking's where there is any, for the probe.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    tokens: tuple[str, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    n_tokens: int | None = None
    has_own_count: bool = True
    first_top: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    choices: tuple[Choice, ...]
    n_prompt_tokens: int | None


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Message(_Wire):
    content: str | list[dict[str, Any]] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content if part.get("type") == "text")
        return self.content or self.refusal or ""


class _Choice(_Wire):
    index: int = 0
    text: str | None = None
    message: _Message | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Usage(_Wire):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(_Wire):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Top(_Wire):
    token: str
    logprob: float | None = None


class _Token(_Wire):
    token: str
    logprob: float | None = None
    spelled: list[int] | None = Field(None, alias="bytes")
    top_logprobs: list[_Top] | None = None

    @property
    def spelling(self) -> bytes:
        return self.token.encode() if self.spelled is None else bytes(b % 256 for b in self.spelled)


class _ChatLogprobs(_Wire):
    content: list[_Token]


class _TextLogprobs(_Wire):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float | None] | None] | None = None

    def as_tokens(self) -> list[_Token]:
        tops = self.top_logprobs or [None] * len(self.tokens)
        rows = zip(self.tokens, self.token_logprobs, tops, strict=True)
        return [_Token(token=t, logprob=p, top_logprobs=_tops(top)) for t, p, top in rows]


def read_reply(content: bytes) -> Reply:
    """Raises: BackendError, for anything that is not a completion in UTF-8 JSON."""
    try:
        completion = _Completion.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}"
        raise BackendError(f"the language model's server sent no completion that can be read ({what})") from error
    usage = completion.usage or _Usage()
    ordered = sorted(completion.choices, key=lambda c: c.index)
    shares = _shares(usage.completion_tokens, len(ordered))
    is_alone = len(ordered) == 1
    choices = [_read_choice(choice, share, is_alone=is_alone) for choice, share in zip(ordered, shares, strict=True)]
    return Reply(tuple(choice for choice in choices if choice is not None), usage.prompt_tokens)


def read_document(content: bytes) -> dict[str, Any]:
    """A completion as it is, with what JSON cannot say (NaN) made null. Raises: BackendError."""
    try:
        document = json.loads(content, parse_constant=lambda _: None)
    except ValueError as error:
        raise BackendError("the language model's server sent no completion that can be read") from error
    if not isinstance(document, dict) or not isinstance(document.get("choices"), list):
        raise BackendError("the language model's server sent no completion that can be read (no choices)")
    return document


def _shares(n_tokens: int | None, n_choices: int) -> list[int | None]:
    """Even ones, whose sum is exact."""
    if n_tokens is None:
        return [None] * n_choices
    return [n_tokens // n_choices + (place < n_tokens % n_choices) for place in range(n_choices)]


def _counted(n_read: int, share: int | None, *, is_alone: bool, thought_apart: bool) -> tuple[int | None, bool]:
    """Tokens, the thinking's too, and whether they are known to be this choice's own: logprobs may leave it out."""
    if is_alone and share is not None:
        return max(share, n_read), True
    return n_read or share, n_read > 0 and not thought_apart


def _read_choice(choice: _Choice, share: int | None, *, is_alone: bool) -> Choice | None:
    """None for a choice that the server withheld or broke off."""
    whole = choice.text if choice.message is None else choice.message.text
    if whole is None or choice.finish_reason in ("content_filter", "abort", "error"):
        return None
    text, tokens = strip_reasoning(whole), _read_tokens(choice.logprobs)
    thought_apart = _thought_apart(choice.message)
    scored = _scored(tokens, text, has_thought=thought_apart or text != whole)
    n_tokens, has_own_count = _counted(len(tokens), share, is_alone=is_alone, thought_apart=thought_apart)
    return Choice(
        text=text,
        finish_reason="length" if choice.finish_reason in ("length", "max_tokens") else "stop",
        tokens=tuple(t.token for t in scored) if scored else None,
        logprobs=clean_logprobs([t.logprob for t in scored]) if scored else None,
        n_tokens=n_tokens,
        has_own_count=has_own_count,
        first_top=_first_top(tokens),
    )


def _thought_apart(message: _Message | None) -> bool:
    return message is not None and bool(
        message.reasoning or message.reasoning_content or isinstance(message.content, list)
    )


def _scored(tokens: list[_Token], text: str, *, has_thought: bool) -> list[_Token] | None:
    """The answer's tokens, if each has a logprob that can be one."""
    start = first_answer_token([t.spelling for t in tokens], text) if has_thought else 0
    answer = [] if start is None else tokens[start:]
    return answer if clean_logprobs([t.logprob for t in answer]) else None


def clean_logprobs(logprobs: list[float | None]) -> tuple[float, ...] | None:
    """All of them, or None where one is missing, a placeholder, not a number or above 0: a sum with a hole is a lie."""
    given = [value for value in logprobs if value is not None]
    if len(given) < len(logprobs) or not are_usable(given):
        return None
    return tuple(min(0.0, value) for value in given)


def _read_tokens(logprobs: Any) -> list[_Token]:
    """Both wire forms, told apart by their shape; empty where there are none or they are malformed."""
    try:
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            return _ChatLogprobs.model_validate(logprobs).content
        return _TextLogprobs.model_validate(logprobs).as_tokens()
    except ValueError:  # pydantic's own, and lists of different lengths
        return []


def _first_top(tokens: list[_Token]) -> dict[str, float]:
    tops = tokens[0].top_logprobs if tokens else None
    found = {top.token: top.logprob for top in tops or [] if top.logprob is not None}
    return {token: logprob for token, logprob in found.items() if are_usable([logprob])}


def _tops(top: dict[str, float | None] | None) -> list[_Top]:
    return [_Top(token=token, logprob=logprob) for token, logprob in (top or {}).items()]
