"""The answer, what it cost, and what is promised of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from demur.types.entailment import Judgement, Verdict
from demur.types.evidence import Cluster, TokenConfidence, Uncertainty
from demur.types.question import Policy, Question
from demur.types.sample import Sample
from demur.types.vocabulary import Action, CacheStatus, Degradation, Reason, Scope, SignalName


@dataclass(frozen=True, slots=True)
class Guarantee:
    """With confidence 1 - delta, at most a share alpha of the answered questions is answered wrongly.

    It holds for questions that come from where `population` came from, and was tested on `n_calibration` of them, of
    which `n_accepted` were answered, `errors` wrongly. `two_stage`: answered at once or after one retrieval, together;
    `cascade`: answered without samples or with them, together.
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
    up because enough had landed, or not begun because the T=0 answer would do.
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
