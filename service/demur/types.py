"""The values that flow through Demur: frozen, free of I/O, each answering questions about itself only.

`Question -> [Sample] -> Clustering -> Signals -> Decision -> Answer`
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal


class Action(StrEnum):
    """What the caller should do with the answer."""

    ANSWER = "answer"
    RETRIEVE = "retrieve"
    ABSTAIN = "abstain"


class Reason(StrEnum):
    """Why the policy chose its action."""

    ABOVE_ANSWER_THRESHOLD = "above_answer_threshold"
    BELOW_ANSWER_THRESHOLD = "below_answer_threshold"
    BELOW_RETRIEVE_THRESHOLD = "below_retrieve_threshold"
    NON_ANSWER = "non_answer"
    CONTRADICTS_CONTEXT = "contradicts_context"
    INSUFFICIENT_CONTEXT = "insufficient_context"
    RETRIEVAL_EXHAUSTED = "retrieval_exhausted"
    DEADLINE = "deadline"


class Degradation(StrEnum):
    """Why a number is missing, or weaker than usual."""

    NO_LOGPROBS = "no_logprobs"
    NO_GREEDY = "no_greedy"
    MODIFIED_SAMPLING = "modified_sampling"
    PARTIAL_SAMPLES = "partial_samples"
    NLI_UNAVAILABLE = "nli_unavailable"
    NLI_TRUNCATED = "nli_truncated"
    SAMPLES_TRUNCATED = "samples_truncated"
    LONG_ANSWERS = "long_answers"
    UNCALIBRATED = "uncalibrated"
    DEADLINE = "deadline"
    CACHE_UNAVAILABLE = "cache_unavailable"


LogprobSource = Literal["raw", "processed", "unknown"]
AnswerStrategy = Literal["auto", "mode", "greedy"]
OnAbstain = Literal["annotate", "replace", "omit"]
OnDeadline = Literal["partial", "error"]
SamplingMode = Literal["fixed", "adaptive"]
CacheMode = Literal["default", "bypass", "refresh", "only"]
CacheStatus = Literal["hit", "miss", "bypass", "refresh", "shared"]

ANONYMOUS = "anonymous"  # the tenant where there are no API keys
ELSEWHERE = "elsewhere"  # the model of samples that were not drawn here
Role = Literal["system", "user", "assistant", "developer"]
Scope = Literal["closed_book", "two_stage"]
SignalName = Literal["agreement", "semantic_entropy", "mean_logprob", "min_logprob", "greedy_agrees", "sample_coverage"]


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
    least `min_n`.
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


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn answer.

    `token_logprobs` are natural logs in (-inf, 0], the end-of-sequence token included where the model drew one;
    None where the backend gave none. `tokens` are the raw tokens they belong to. `is_greedy` marks the T=0 answer,
    which is drawn beside the samples and never counted among them.
    """

    text: str
    index: int = 0
    finish_reason: Literal["stop", "length"] = "stop"
    tokens: tuple[str, ...] | None = None
    token_logprobs: tuple[float, ...] | None = None
    logprob_source: LogprobSource = "unknown"
    is_greedy: bool = False
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None

    @property
    def sequence_logprob(self) -> float | None:
        """Log-probability of the whole answer, in nats; None without token logprobs."""
        return math.fsum(self.token_logprobs) if self.token_logprobs else None

    @property
    def is_truncated(self) -> bool:
        return self.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class Statement:
    """One side of an entailment question: an answer, read as the answer to `question` when there is one."""

    answer: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Does the premise entail the hypothesis? One direction."""

    premise: Statement
    hypothesis: Statement

    @property
    def reversed(self) -> Pair:
        return Pair(self.hypothesis, self.premise)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Probabilities of the three relations; they sum to 1. `is_truncated`: the texts did not fit the model."""

    entailment: float
    neutral: float
    contradiction: float
    is_truncated: bool = False

    @property
    def label(self) -> Literal["entailment", "neutral", "contradiction"]:
        """The most probable relation; ties fall to the weaker claim."""
        if self.neutral >= max(self.entailment, self.contradiction):
            return "neutral"
        return "contradiction" if self.contradiction >= self.entailment else "entailment"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the NLI model said of two samples, by index; None stands for the T=0 answer. One direction."""

    premise: int | None
    hypothesis: int | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Clustering:
    """`semantic_ids[i]` is the meaning of sample i; meanings are numbered from 0 in order of first appearance."""

    semantic_ids: tuple[int, ...]

    @property
    def n_samples(self) -> int:
        return len(self.semantic_ids)

    @property
    def n_clusters(self) -> int:
        return len(set(self.semantic_ids))

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples per meaning, indexed by semantic id."""
        counted = Counter(self.semantic_ids)
        return tuple(counted[k] for k in range(len(counted)))

    @property
    def frequencies(self) -> tuple[float, ...]:
        return tuple(c / self.n_samples for c in self.counts)

    def members(self, semantic_id: int) -> tuple[int, ...]:
        """Indices of the samples that share this meaning."""
        return tuple(i for i, k in enumerate(self.semantic_ids) if k == semantic_id)


@dataclass(frozen=True, slots=True)
class TokenConfidence:
    """Token probabilities of one answer. `mean`, `min` in [0, 1]; logprobs in nats; `perplexity` >= 1."""

    mean: float
    min: float
    sequence_logprob: float
    mean_logprob: float
    perplexity: float
    num_tokens: int
    kind: Literal["greedy", "sampled"]
    source: LogprobSource


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Entropies in nats, shares in [0, 1]; None where the number cannot be computed."""

    semantic_entropy: float
    semantic_entropy_normalized: float | None
    semantic_entropy_weighted: float | None
    predictive_entropy: float | None
    num_clusters: int
    agreement: float
    sample_coverage: float
    refusal_fraction: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A meaning as shown to people: a representative text, and its share of samples and of probability."""

    index: int
    text: str
    size: int
    mass: float | None
    sample_indices: tuple[int, ...]
    non_answer: bool


@dataclass(frozen=True, slots=True)
class Signals:
    """Everything the policy may look at.

    `greedy_agrees` is None where there is no greedy answer; `groundedness` without passages, and where it could not be
    measured (`is_grounding_unknown`).
    """

    n_samples: int
    confidence: float
    is_calibrated: bool
    is_non_answer: bool
    greedy_agrees: bool | None
    groundedness: float | None = None
    is_grounding_unknown: bool = False
    contradicts_context: bool = False
    deadline_reached: bool = False


@dataclass(frozen=True, slots=True)
class Guarantee:
    """With confidence 1 - delta, at most a share alpha of the answered questions is answered wrongly.

    It holds for questions that come from where `population` came from, and was tested on `n_calibration` of them, of
    which `n_accepted` were answered, `errors` wrongly. `two_stage`: answered at once or after one retrieval, together.
    """

    scope: Scope
    population: str
    alpha: float
    delta: float
    n_calibration: int
    n_accepted: int
    errors: int
    type: Literal["selective_risk"] = "selective_risk"


@dataclass(frozen=True, slots=True)
class CalibrationInfo:
    """The profile that turned the signals into a probability."""

    id: str
    method: Literal["platt", "isotonic", "fused"]
    n_labels: int
    fitted_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    action: Action
    reason: Reason


@dataclass(frozen=True, slots=True)
class Work:
    """What an answer cost. Counts of directed NLI pairs and tokens; times in seconds.

    `n_pairs_speculative` were asked before all samples had landed, and not needed in the end; they are not among
    `n_pairs`. `nli_seconds` is all the time for which pairs of this answer were with the NLI model; of it,
    `nli_hidden_seconds` lay before the last sample had landed, within `generate_seconds`. `n_samples_saved` were given
    up because enough had landed.
    """

    n_pairs: int = 0
    n_pairs_cached: int = 0
    n_pairs_speculative: int = 0
    nli_truncated: bool = False
    n_samples_saved: int = 0
    n_prompt_tokens: int = 0
    n_completion_tokens: int = 0
    queue_seconds: float = 0.0
    generate_seconds: float = 0.0
    nli_seconds: float = 0.0
    nli_hidden_seconds: float = 0.0
    total_seconds: float = 0.0

    @property
    def nli_visible_seconds(self) -> float:
        """What the NLI model added to the generation."""
        return self.nli_seconds - self.nli_hidden_seconds

    @property
    def decide_seconds(self) -> float:
        """What no other phase took."""
        return max(0.0, self.total_seconds - self.queue_seconds - self.generate_seconds - self.nli_visible_seconds)

    def until(self, total_seconds: float) -> Work:
        return replace(self, total_seconds=total_seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer, the evidence for it, and what to do with it.

    `text` is what the model said, whatever the decision; `on_abstain` is applied where it is shown. `policy` holds the
    thresholds used: the caller's own, or those of the profile named in `calibration`; `signals` is what a
    profile reads. `judgements` are those by which the samples were clustered; `chosen_cluster` is the meaning
    of `chosen` among them, None where no sample means the same. `passage_verdicts` tell how far each passage entails
    the answer, None where it was not read.
    """

    id: str
    created: int
    model: str
    nli_model: str | None
    question: Question
    text: str
    chosen: Sample
    decision: Decision
    policy: Policy
    guarantee: Guarantee | None
    calibration: CalibrationInfo | None
    confidence: float
    signals: Mapping[SignalName, float]
    uncertainty: Uncertainty
    token_confidence: TokenConfidence | None
    groundedness: float | None
    clusters: tuple[Cluster, ...]
    samples: tuple[Sample, ...]
    greedy: Sample | None
    greedy_cluster: int | None
    semantic_ids: tuple[int, ...]
    degraded: tuple[Degradation, ...]
    work: Work
    judgements: tuple[Judgement, ...] = ()
    chosen_cluster: int | None = None
    passage_verdicts: tuple[Verdict | None, ...] = ()
    contradicts_context: bool = False

    @property
    def is_calibrated(self) -> bool:
        """Whether `confidence` is a probability of being correct."""
        return self.calibration is not None


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Where an answer came from; ages, times to live in seconds. `shared`: another request was asking the same."""

    status: CacheStatus
    age_seconds: float = 0.0
    ttl_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with what became of it. `is_stored`: its record is durable, so that feedback on it will not be lost."""

    answer: Answer
    cache: CacheUse
    is_stored: bool
