"""What is asked, and how the caller wants it handled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from demur.types.sample import Sample
from demur.types.vocabulary import ANONYMOUS, AnswerStrategy, CacheMode, OnAbstain, OnDeadline, Role, SamplingMode


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved text that the answer may rest on."""

    text: str
    id: str | None = None
    title: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn: one greedy (T=0) answer, and `n` at `temperature`.

    adaptive: `n` are begun, and those that are not finished are given up as soon as one meaning leads clearly among at
    least `min_n`. cascade: the greedy answer comes first, and no samples where a profile certified that its tokens will
    do; else as fixed. `n` is 0 where the greedy answer is drawn alone, `with_greedy` False where it is there already.
    Requests of different `cache_scope` share nothing in the language model's prefix cache. `passed_on` is a JSON object
    of further fields for the language model's server, or empty.
    """

    n: int = 10
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int | None = None
    cache_scope: str | None = None
    passed_on: str = ""
    mode: SamplingMode = "fixed"
    min_n: int = 5
    with_greedy: bool = True

    @property
    def n_drawn(self) -> int:
        """Of samples and greedy answer together."""
        return self.n + self.with_greedy

    @property
    def is_unmodified(self) -> bool:
        """Whether samples come from the model's own distribution, so that its logprobs are theirs.

        What fields mean that are passed on is not known here: they may have changed it.
        """
        return self.temperature == 1.0 and self.top_p == 1.0 and not self.passed_on


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Whether the caller can still look something up."""

    available: bool = True
    attempt: int = 0
    max_attempts: int = 1
    id: str | None = None

    @property
    def is_possible(self) -> bool:
        return self.available and self.attempt < self.max_attempts


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds in [0, 1] on confidence; `groundedness_min` is None where grounding is not demanded."""

    name: str = "default"
    answer_min: float = 0.8
    answer_min_after_retrieval: float = 0.8
    retrieve_min: float = 0.0
    groundedness_min: float | None = None

    def __post_init__(self) -> None:
        bounds = [self.answer_min, self.answer_min_after_retrieval, self.retrieve_min, self.groundedness_min or 0.0]
        if not all(0.0 <= bound <= 1.0 for bound in bounds):
            raise ValueError(f"thresholds must lie in [0, 1], got {self}")


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How far an earlier answer will do. `ttl_seconds` is how long this one may be used again; None: as configured."""

    mode: CacheMode = "default"
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Rated:
    """An answer made elsewhere, to be rated by samples; by these where there are any, else by samples drawn here."""

    answer: Sample
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how the caller wants it handled. `timeout_seconds` bounds the whole request.

    `tenant` is the id of the API key that asks. Nothing that is kept or shared crosses tenants, timing included.
    """

    messages: tuple[Message, ...]
    context: tuple[Passage, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    policy: Policy = field(default_factory=Policy)
    retrieval: Retrieval = field(default_factory=Retrieval)
    answer_strategy: AnswerStrategy = "auto"
    on_abstain: OnAbstain = "annotate"
    on_deadline: OnDeadline = "partial"
    timeout_seconds: float = 60.0
    strict: bool = False
    quality: str = "balanced"
    metadata: Mapping[str, str] = field(default_factory=dict)
    cache: CachePolicy = field(default_factory=CachePolicy)
    tenant: str = ANONYMOUS
    user: str | None = None
    rated: Rated | None = None

    @property
    def text(self) -> str:
        """The last user message: what an answer is an answer to."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")
