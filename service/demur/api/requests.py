"""What callers send. Wire models refuse unknown fields, so that a misspelt one does not pass silently."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from demur.api.wire import Wire
from demur.errors import FieldError, ModelNotFound, ValidationFailed
from demur.settings import DefaultsSettings
from demur.types import (
    ANONYMOUS,
    CacheMode,
    CachePolicy,
    Message,
    Passage,
    Policy,
    Question,
    Retrieval,
    Role,
    Sampling,
    SamplingMode,
)

Quality = Literal["fast", "balanced", "thorough"]
Include = Literal["samples", "clusters", "token_logprobs", "nli", "timings"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
ShortText = Annotated[str, StringConstraints(max_length=128)]

DEFAULT_MAX_TOKENS = 256
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_MIN_N = 5
SAMPLES: dict[Quality, int] = {"fast": 5, "balanced": 10, "thorough": 20}


class MessageIn(Wire):
    role: Role
    content: str = Field(description="Text only.")


class PassageIn(Wire):
    """A retrieved passage: put into the prompt, and used to judge whether the answer is grounded."""

    text: str = Field(min_length=1, max_length=8000)
    id: ShortText | None = None
    title: Annotated[str, StringConstraints(max_length=512)] | None = None
    score: float | None = Field(None, allow_inf_nan=False)

    @field_validator("text")
    @classmethod
    def _not_blank(cls, text: str) -> str:
        return _said(text)


class SamplingIn(Wire):
    n: int | None = Field(None, ge=2, description="Samples to draw; by `quality` when left out.")
    temperature: float | None = Field(None, allow_inf_nan=False, description="0 < t <= 2.")
    top_p: float = Field(1.0, gt=0, le=1, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1, description="Per sample; 256 when left out.")
    stop: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(default=[], max_length=4)
    seed: int | None = Field(None, ge=0, le=2**31 - 1, description="Same request, same seed: same samples.")
    mode: SamplingMode = Field(
        "fixed",
        description="adaptive: the rest is given up once one meaning leads clearly among `min_n` or more. cascade: the "
        "T=0 answer comes first, and none are drawn where a calibration promises that its tokens will do; else fixed.",
    )
    min_n: int | None = Field(None, ge=2, description="adaptive: samples at the first look; 5, or n, when left out.")

    @model_validator(mode="after")
    def _first_look_comes_in_time(self) -> Self:
        if self.min_n is not None and self.mode != "adaptive":
            raise ValueError("min_n belongs to `mode: adaptive`")
        if self.min_n is not None and self.n is not None and self.min_n > self.n:
            raise ValueError(f"min_n is {self.min_n}, and only {self.n} samples are drawn")
        return self

    @field_validator("temperature")
    @classmethod
    def _samples_must_differ(cls, t: float | None) -> float | None:
        if t == 0:
            raise ValueError(
                "temperature 0 draws the same answer every time, which measures nothing; leave it out to sample at 1. "
                "The T=0 answer is drawn beside the samples in any case (see answer_strategy)"
            )
        if t is not None and not 0 < t <= 2:
            raise ValueError("must be greater than 0 and at most 2")
        return t


class PolicyIn(Wire):
    """Hand-set thresholds on `confidence`; they carry no guarantee."""

    answer_min: Share = 0.8
    answer_min_after_retrieval: Share | None = Field(None, description="`answer_min` when left out.")
    retrieve_min: Share = 0.0
    groundedness_min: Share | None = None

    def to_domain(self) -> Policy:
        after = self.answer_min if self.answer_min_after_retrieval is None else self.answer_min_after_retrieval
        return Policy("custom", self.answer_min, after, self.retrieve_min, self.groundedness_min)


class RetrievalIn(Wire):
    available: bool = Field(True, description="Whether you can look something up.")
    attempt: int = Field(0, ge=0, le=8, description="How often you already did, for this question.")
    max_attempts: int = Field(1, ge=0, le=8, description="From this attempt on, `retrieve` becomes `abstain`.")
    id: ShortText | None = Field(None, description="Names the retriever and its index version.")


class CacheIn(Wire):
    """An answer to exactly the same request may be remembered, or just being drawn for somebody with the same key."""

    mode: CacheMode = Field(
        "default",
        description="default: remembered, else drawn; bypass: drawn, and not remembered; refresh: drawn, and "
        "remembered; only: remembered, or 404 `cache-miss`.",
    )
    ttl_s: int | None = Field(
        None, ge=0, le=86_400, description="How long this answer may be remembered, at most as long as the server does."
    )


class QuestionRequest(Wire):
    """What is asked, and how to decide on an answer to it."""

    prompt: str | None = Field(None, description="The question as one text.")
    messages: list[MessageIn] | None = Field(None, min_length=1, max_length=128, description="The question as a chat.")
    model: Annotated[str, StringConstraints(max_length=256)] | None = Field(None, description="The served model.")
    context: list[PassageIn] = Field(default=[], max_length=32, description="Retrieved passages.")
    quality: Quality | None = Field(None, description="5, 10 or 20 samples; `balanced` (10) when left out.")
    sampling: SamplingIn = SamplingIn()
    policy: Annotated[
        Annotated[Literal["default"], Tag("named policy")] | Annotated[PolicyIn, Tag("own policy")],
        Discriminator(lambda value: "named policy" if isinstance(value, str) else "own policy"),
    ] = Field("default", description="A named policy, or thresholds of your own.")
    retrieval: RetrievalIn = RetrievalIn()
    on_abstain: Literal["annotate", "replace", "omit"] = Field(
        "annotate", description="Keep the text, replace it by a fixed one, or send `answer: null`."
    )
    include: list[Include] = Field(default=["clusters"], max_length=5, description="Parts of the response to send.")
    timeout_s: float | None = Field(
        None, ge=0.1, allow_inf_nan=False, description="Deadline of the whole request; 60 when left out."
    )
    on_deadline: Literal["partial", "error"] = Field("partial", description="partial: decide on >= 2 finished samples.")
    strict: bool = Field(False, description="Refuse rather than answer with a missing or weakened signal.")

    @field_validator("prompt")
    @classmethod
    def _prompt_not_blank(cls, prompt: str | None) -> str | None:
        return None if prompt is None else _said(prompt)

    @field_validator("messages")
    @classmethod
    def _a_user_speaks(cls, messages: list[MessageIn] | None) -> list[MessageIn] | None:
        if messages is not None and not any(m.role == "user" and m.content.strip() for m in messages):
            raise ValueError("needs a message of role `user` that is not blank")
        return messages

    @model_validator(mode="after")
    def _one_form(self) -> QuestionRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("send exactly one of `prompt` and `messages`")
        return self

    def to_domain(self, defaults: DefaultsSettings, model: str, tenant: str = ANONYMOUS) -> Question:
        """The question, within the operator's bounds. Raises ValidationFailed, ModelNotFound."""
        if self.model not in (None, model):
            raise ModelNotFound(f"model {self.model!r} is not served here; this service runs {model!r}")
        self._within(defaults)
        quality = self.quality or defaults.quality
        return Question(
            messages=self._conversation(),
            context=tuple(Passage(p.text, p.id, p.title, p.score) for p in self.context),
            sampling=self._sampling(defaults, quality, tenant),
            policy=Policy() if self.policy == "default" else self.policy.to_domain(),
            retrieval=Retrieval(**self.retrieval.model_dump()),
            on_abstain=self.on_abstain,
            on_deadline=self.on_deadline,
            timeout_seconds=timeout_seconds(self.timeout_s, defaults),
            strict=self.strict,
            quality=quality,
            tenant=tenant,
        )

    def _within(self, defaults: DefaultsSettings) -> None:
        n_chars = len(self.prompt or "") + sum(len(m.content) for m in self.messages or [])
        bounds = [
            ("/prompt" if self.prompt is not None else "/messages", n_chars, defaults.max_prompt_chars, "characters"),
            ("/sampling/n", self.sampling.n or 0, defaults.max_samples, "samples"),
            ("/sampling/max_tokens", self.sampling.max_tokens or 0, defaults.max_tokens, "tokens"),
            ("/timeout_s", self.timeout_s or 0, defaults.max_timeout_s, "seconds"),
        ]
        over = [
            FieldError(at, f"{got} {unit} is over the limit of {top}") for at, got, top, unit in bounds if got > top
        ]
        if over:
            raise ValidationFailed(*over)

    def _conversation(self) -> tuple[Message, ...]:
        if self.prompt is not None:
            return (Message("user", self.prompt),)
        return tuple(Message(m.role, m.content) for m in self.messages or [])

    def _sampling(self, defaults: DefaultsSettings, quality: Quality, tenant: str) -> Sampling:
        asked = self.sampling
        n = asked.n or min(SAMPLES[quality], defaults.max_samples)
        return Sampling(
            n=n,
            temperature=asked.temperature or defaults.temperature,
            top_p=asked.top_p,
            max_tokens=asked.max_tokens or min(DEFAULT_MAX_TOKENS, defaults.max_tokens),
            stop=tuple(asked.stop),
            seed=asked.seed,
            cache_scope=None if tenant == ANONYMOUS else tenant,
            mode=asked.mode,
            min_n=min(asked.min_n or DEFAULT_MIN_N, n),
        )


class AnswerRequest(QuestionRequest):
    """A question. Send `prompt` or `messages`; everything else has a default."""

    answer_strategy: Literal["auto", "mode", "greedy"] = Field(
        "auto",
        description="auto: the T=0 answer if it lies in the heaviest cluster, else that cluster's representative; "
        "mode: always the representative; greedy: always the T=0 answer.",
    )
    cache: CacheIn = CacheIn()
    metadata: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ] = Field(default={}, max_length=16, description="Echoed, and kept with the record.")
    user: ShortText | None = Field(None, description="Who asks, in your words; only a hash of it is kept.")

    def to_domain(self, defaults: DefaultsSettings, model: str, tenant: str = ANONYMOUS) -> Question:
        """The question, within the operator's bounds. Raises ValidationFailed, ModelNotFound."""
        return replace(
            super().to_domain(defaults, model, tenant),
            answer_strategy=self.answer_strategy,
            metadata=self.metadata,
            cache=CachePolicy(self.cache.mode, self.cache.ttl_s),
            user=None if self.user is None else hashed_user(self.user, tenant),
        )


def timeout_seconds(asked: float | None, defaults: DefaultsSettings) -> float:
    return asked or min(DEFAULT_TIMEOUT_S, defaults.max_timeout_s)


def hashed_user(user: str, tenant: str) -> str:
    """Tells one tenant's users apart; the same user of two tenants is not recognised. 128 bits, in hex.

    Whoever can guess names can check a guess: it hides names from those who read records, not from those who seek one.
    """
    return hashlib.blake2b(user.encode(), key=tenant.encode()[:64], digest_size=16, person=b"demur user").hexdigest()


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text
