"""What the service sends. Fields that a newer service adds are kept; names of decisions and reasons may grow."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Decision = Literal["answer", "retrieve", "abstain"] | str


class Model(BaseModel):
    """Frozen, and tolerant: unknown fields are attributes too."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", frozen=True, protected_namespaces=(), defer_build=True
    )  # imports are quick


class Policy(Model):
    """The thresholds that were applied to `confidence`."""

    name: str
    answer_min: float
    answer_min_after_retrieval: float
    retrieve_min: float
    groundedness_min: float | None = None


class Guarantee(Model):
    """At most `alpha` of what is answered is wrong, with confidence 1 - `delta`, for questions like `population`."""

    type: str
    scope: str
    population: str
    alpha: float
    delta: float
    n_calibration: int
    n_accepted: int
    errors: int


class Uncertainty(Model):
    """Entropies in nats, all shares in [0, 1]; None: could not be computed, `degraded` says why.

    With `sampling={"mode": "cascade"}` all may be None: the answer was sure enough without samples.
    """

    semantic_entropy: float | None
    semantic_entropy_normalized: float | None
    semantic_entropy_weighted: float | None
    predictive_entropy: float | None
    num_clusters: int | None
    agreement: float | None
    sample_coverage: float | None
    refusal_fraction: float | None


class TokenConfidence(Model):
    """Token probabilities of the greedy answer, or of the one returned (`kind`)."""

    mean: float
    min: float
    sequence_logprob: float
    mean_logprob: float
    perplexity: float
    num_tokens: int
    kind: str
    source: str


class Cluster(Model):
    """Samples of one meaning; `mass` is their share of probability, `size` their number."""

    index: int
    text: str
    size: int
    mass: float | None
    sample_indices: list[int]
    non_answer: bool


class Token(Model):
    token: str
    logprob: float


class Sample(Model):
    """One drawn answer, with `include=["samples"]`."""

    index: int
    text: str
    finish_reason: str
    cluster: int | None
    sequence_logprob: float | None
    tokens: list[Token] | None = None


class Sampling(Model):
    requested: int
    completed: int
    failed: int
    saved: int = 0
    stopped_early: bool = False
    truncated: int
    seed: int | None = None


class Judgement(Model):
    """How probable it is that the premise entails the hypothesis, that it contradicts it, or neither.

    Both are indices of samples; None stands for the T=0 answer, or for the answer that is rated.
    """

    premise: int | None
    hypothesis: int | None
    entailment: float
    neutral: float
    contradiction: float


class NLI(Model):
    """`pairs` were asked of the model for this request, `pairs_speculative` in vain; `pairs_cached` were known."""

    model: str | None
    pairs: int
    pairs_cached: int
    pairs_speculative: int = 0
    truncated: bool
    judgements: list[Judgement] | None = None


class PassageVerdict(Model):
    """Whether the best part of a passage entails the answer: three probabilities that sum to 1."""

    entailment: float
    neutral: float
    contradiction: float


class AnswerNLI(NLI):
    """`passages`: None for one that was not read. `contradicts_context`: none entails the answer, one denies it."""

    passages: list[PassageVerdict | None] = []
    contradicts_context: bool = False


class Cache(Model):
    status: str
    age_s: float
    ttl_s: float


class Usage(Model):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Timings(Model):
    """Seconds."""

    queue_s: float
    generate_s: float
    nli_s: float
    nli_hidden_s: float = 0.0
    total_s: float


class Calibration(Model):
    """The profile behind a calibrated `confidence`."""

    id: str
    method: str
    n_labels: int
    fitted_at: str


class Verdict(Model):
    """An answer, the evidence for it, and what to do with it. True where the decision is `answer`."""

    id: str
    object: str
    created: int
    answer: str | None
    decision: Decision
    reason: str
    policy: Policy
    guarantee: Guarantee | None = None
    confidence: float
    calibrated: bool
    uncertainty: Uncertainty
    token_confidence: TokenConfidence | None
    groundedness: float | None
    clusters: list[Cluster] | None = None
    greedy: Sample | None = None
    samples: list[Sample] | None = None
    token_logprobs: list[Token] | None = None
    sampling: Sampling
    calibration: Calibration | None = None
    nli: AnswerNLI | None = None
    cache: Cache
    stored: bool = False
    usage: Usage
    degraded: list[str]
    timings: Timings | None = None
    metadata: dict[str, str] = {}

    def __bool__(self) -> bool:
        return self.decision == "answer"


class AnswerResult(Verdict):
    """What came of a question."""

    model: str


class ScoreResult(Verdict):
    """What the service says of an answer made elsewhere. `model` drew the samples; None where you sent them.

    `answer_cluster` is the index of the answer's cluster; None where no sample agrees with it.
    """

    model: str | None
    answer_cluster: int | None


class TextCluster(Model):
    """Texts of one meaning; `mass` is their share of the weights."""

    index: int
    text: str
    size: int
    mass: float | None
    text_indices: list[int]


class Clustering(Model):
    """Texts by meaning: `assignments[i]` is the cluster of text i. Entropies in nats."""

    object: str
    assignments: list[int]
    num_clusters: int
    clusters: list[TextCluster]
    semantic_entropy: float
    semantic_entropy_normalized: float | None
    semantic_entropy_weighted: float | None
    nli: NLI
    degraded: list[str]


class Version(Model):
    version: str
    model: str
    nli_model: str | None


class Feedback(Model):
    """A label on an answer, kept for good by the time it is returned."""

    answer_id: str
    source: str
    label: str | None = None
    score: float | None = None


class Page(Model):
    """One page of a list; `next` is None on the last."""

    data: list[dict[str, Any]]
    next: str | None = None
