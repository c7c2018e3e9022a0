"""What callers of the OpenAI door send: anything. What can be scored becomes a question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from demur.api.requests import (
    SAMPLES,
    AnswerRequest,
    CacheIn,
    Include,
    MessageIn,
    PassageIn,
    PolicyIn,
    Quality,
    RetrievalIn,
    SamplingIn,
)
from demur.errors import FieldError, ModelNotFound, ValidationFailed
from demur.settings import DefaultsSettings

T = TypeVar("T")

QUALITIES: tuple[Quality, ...] = ("fast", "balanced", "thorough")
OnAbstain = Literal["annotate", "replace", "omit"]

MAX_MESSAGES = 128  # of a question; a longer conversation is handed on
MAX_STOPS, MAX_STOP_CHARS = 4, 64
_N_SEEDS = 2**31

# Housekeeping between a caller and OpenAI, which changes no word of an answer.
_HOUSEKEEPING = {
    "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls",
    "tool_choice", "function_call", "cache_salt",
}  # fmt: skip
# Values that ask for nothing.
_NEUTRAL: dict[str, list[Any]] = {
    "presence_penalty": [0],
    "frequency_penalty": [0],
    "logit_bias": [{}],
    "tools": [[]],
    "functions": [[]],
    "modalities": [["text"], []],
    "response_format": [{"type": "text"}],
    "top_logprobs": [0],
    "best_of": [1],
    "use_beam_search": [False],
}
_GUIDES = {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "response_format"}
# Which field keeps a request from being scored, and as what that is counted.
_REASONS: dict[str, str] = {
    "tools": "tools",
    "functions": "tools",
    "audio": "audio",
    "modalities": "audio",
    "web_search_options": "web_search",
    "top_logprobs": "logprobs",
    "prompt_logprobs": "logprobs",
    "best_of": "beam_search",
    "use_beam_search": "beam_search",
    **dict.fromkeys(_GUIDES, "response_format"),
}
_PARTS = {"image_url": "images", "video_url": "images", "input_audio": "audio", "file": "files"}
_ROLES = {"system", "user", "assistant", "developer"}


class UncertaintyIn(BaseModel):
    """How the answer is to be measured, as on `/v1/answer`. Misspelt fields are refused: these are ours."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = Field(True, description="false: have the answer without a verdict, handed on as it is.")
    buffer: bool = Field(False, description="With `stream`: wait for the verdict, then stream the chosen answer.")
    quality: Quality | None = Field(None, description="Samples: 5, 10 or 20.")
    n: int | None = Field(None, ge=2, description="Samples, exactly.")
    temperature: float | None = Field(None, gt=0, le=2, allow_inf_nan=False, description="Of the samples; 1.")
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False, description="Of the samples.")
    policy: Literal["default"] | PolicyIn = "default"
    context: list[PassageIn] = Field(default=[], max_length=32)
    retrieval: RetrievalIn = RetrievalIn()
    answer_strategy: Literal["auto", "mode", "greedy"] | None = None
    on_abstain: OnAbstain | None = None
    cache: CacheIn = CacheIn()
    include: list[Include] = Field(default=["clusters"], max_length=5)
    timeout_s: float | None = Field(None, ge=0.1, allow_inf_nan=False)
    on_deadline: Literal["partial", "error"] = "partial"
    strict: bool = False


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A chat completion as OpenAI and vLLM have it. Further fields are passed on to the language model's server."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description="The served model; `@fast`, `@balanced` or `@thorough` after it says how many samples."
    )
    messages: list[dict[str, Any]] = Field(min_length=1, description="The conversation.")
    n: int | None = Field(None, ge=1, le=128, description="Choices: of samples, the heaviest meanings first.")
    temperature: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="0: the T=0 answer. Samples are drawn at 1 in any case."
    )
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    uncertainty: UncertaintyIn | None = Field(None, description="How to measure the answer.")

    @property
    def options(self) -> UncertaintyIn:
        return self.uncertainty or UncertaintyIn()

    @property
    def further(self) -> dict[str, Any]:
        """Fields beyond those understood here that ask for something."""
        given = {**(self.model_extra or {})}
        return {name: value for name, value in given.items() if not _asks_for_nothing(name, value)}

    @property
    def base_model(self) -> str | None:
        return self._model_and_quality[0]

    @property
    def _model_and_quality(self) -> tuple[str | None, Quality | None]:
        base, at, suffix = (self.model or "").rpartition("@")
        for quality in QUALITIES:
            if at and suffix == quality:
                return base or None, quality
        return self.model or None, None

    def quality(self, header: str | None) -> Quality | None:
        """By the body, else the model's name, else the header. Raises ValidationFailed."""
        return self.options.quality or self._model_and_quality[1] or _one_of(QUALITIES, header, "X-Demur-Quality")

    def require(self, model: str) -> None:
        """Raises ModelNotFound for any but the served one."""
        if self.base_model not in (None, model):
            raise ModelNotFound(f"model {self.base_model!r} is not served here; this service runs {model!r}")

    def unscorable(self, defaults: DefaultsSettings) -> tuple[str, str] | None:
        """Why there can be no verdict, and which field says so; None where there can be one."""
        return next(self._obstacles(defaults), None)

    def _obstacles(self, defaults: DefaultsSettings) -> Iterator[tuple[str, str]]:
        if not self.options.enabled:
            yield "disabled", "uncertainty.enabled"
        given = self.further | ({"top_logprobs": self.top_logprobs} if self.top_logprobs else {})
        yield from ((reason, name) for name, reason in _REASONS.items() if name in given)
        for index, message in enumerate(self.messages):
            if reason := _obstacle_in(message):
                yield reason, f"messages[{index}]"
        if (self.n or 1) > defaults.max_samples:
            yield "n", "n"
        stops = self._stops
        if len(stops) > MAX_STOPS or any(not 1 <= len(text) <= MAX_STOP_CHARS for text in stops):
            yield "stop", "stop"
        texts = [text_of(message) for message in self.messages]
        if len(texts) > MAX_MESSAGES or sum(map(len, texts)) > defaults.max_prompt_chars:
            yield "too_long", "messages"
        if not any(m.get("role") == "user" and text.strip() for m, text in zip(self.messages, texts, strict=True)):
            yield "no_question", "messages"

    @property
    def _stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    def ignored(self, *, passes_on: bool) -> list[str]:
        """Fields that asked for something and change nothing: the verdict names them."""
        names = [] if passes_on else [name for name in self.further if name not in _HOUSEKEEPING]
        asked = {
            "temperature": bool(self.temperature),
            "top_p": self.top_p not in (None, 1.0),
            "metadata": bool(self.metadata) and not _metadata(self.metadata),
        }
        return [*names, *(name for name, is_ignored in asked.items() if is_ignored)]

    def to_request(
        self, defaults: DefaultsSettings, quality: Quality | None, on_abstain: OnAbstain | None
    ) -> AnswerRequest:
        """The same question as `/v1/answer` takes it, with at least as many samples as choices are asked for.

        Samples are drawn as this service measures them, whatever temperature the caller would have its answer at.
        """
        options = self.options
        n_samples = options.n or min(SAMPLES[quality or defaults.quality], defaults.max_samples)
        sampling = SamplingIn(
            n=max(n_samples, self.n or 1),
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=min(self.max_completion_tokens or self.max_tokens or defaults.max_tokens, defaults.max_tokens),
            stop=self._stops,
            seed=None if self.seed is None else self.seed % _N_SEEDS,
        )
        return AnswerRequest(
            messages=[MessageIn(role=m["role"], content=text_of(m)) for m in self.messages],
            quality=quality,
            sampling=sampling,
            answer_strategy=options.answer_strategy or ("greedy" if self.temperature == 0 else "auto"),
            on_abstain=options.on_abstain or on_abstain or "annotate",
            policy=options.policy,
            context=options.context,
            retrieval=options.retrieval,
            cache=options.cache,
            timeout_s=options.timeout_s,
            on_deadline=options.on_deadline,
            strict=options.strict,
            metadata=_metadata(self.metadata),
            user=_user(self.user),
        )

    def passed_on(self) -> str:
        """The further fields as JSON, empty where there are none."""
        fields = {name: value for name, value in self.further.items() if name not in _HOUSEKEEPING}
        return json.dumps(fields, sort_keys=True) if fields else ""


def on_abstain_of(header: str | None) -> OnAbstain | None:
    """What `X-Demur-On-Abstain` says. Raises ValidationFailed."""
    return _one_of(("annotate", "replace", "omit"), header, "X-Demur-On-Abstain")


def handed_on(document: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The caller's own words, less what is ours to say."""
    return {name: value for name, value in document.items() if name not in ("uncertainty", "cache_salt")} | {
        "model": model
    }


def text_of(message: Mapping[str, Any]) -> str:
    """Its text; parts of text stand one below the other."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _obstacle_in(message: Mapping[str, Any]) -> str | None:
    role, content = message.get("role"), message.get("content")
    if role in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
        return "tools"
    if role not in _ROLES or not isinstance(content, str | list | None):
        return "messages"
    parts = content if isinstance(content, list) else []
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    return next((_PARTS.get(str(kind), "messages") for kind in kinds if kind != "text"), None)


def _asks_for_nothing(name: str, value: Any) -> bool:
    return value is None or value in _NEUTRAL.get(name, [])


def _one_of(known: tuple[T, ...], header: str | None, name: str) -> T | None:
    if header is None:
        return None
    for value in known:
        if header.strip() == value:
            return value
    raise ValidationFailed(FieldError(f"/{name}", f"must be one of {', '.join(map(str, known))}"))


def _metadata(given: Mapping[str, Any] | None) -> dict[str, str]:
    """Within the bounds of `/v1/answer`, which are OpenAI's; else none of it."""
    pairs = {name: value for name, value in (given or {}).items() if isinstance(value, str)}
    fits = len(pairs) <= 16 and all(1 <= len(name) <= 64 and len(value) <= 512 for name, value in pairs.items())
    return pairs if fits and len(pairs) == len(given or {}) else {}


def _user(given: str | None) -> str | None:
    return given if given is None or len(given) <= 128 else hashlib.sha256(given.encode()).hexdigest()
