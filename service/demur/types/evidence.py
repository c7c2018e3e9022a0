"""What the samples of a question tell: their meanings, and the numbers made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from demur.types.vocabulary import LogprobSource


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
    """Entropies in nats, shares in [0, 1]; None where the number cannot be computed: all are without samples."""

    semantic_entropy: float | None
    semantic_entropy_normalized: float | None
    semantic_entropy_weighted: float | None
    predictive_entropy: float | None
    num_clusters: int | None
    agreement: float | None
    sample_coverage: float | None
    refusal_fraction: float | None


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
