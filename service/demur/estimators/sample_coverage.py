"""What the samples have not shown yet, and entropies corrected for it."""

from __future__ import annotations

import math

from demur.estimators.semantic_entropy import semantic_entropy
from demur.types import Clustering


def sample_coverage(clustering: Clustering) -> float:
    """1 - f1/N: the share of the answer distribution already seen, in [0, 1]; f1 = meanings seen once (Good 1953)."""
    return 1 - _n_singletons(clustering) / clustering.n_samples


def chao_shen_entropy(clustering: Clustering) -> float:
    """-sum Cp ln(Cp) / (1 - (1 - Cp)^N), in nats, >= 0; may exceed ln(N) (Chao & Shen 2003).

    C is the sample coverage, with f1 = N - 1 where every meaning was seen once: coverage 0 would give no estimate for
    the most uncertain case.
    """
    n = clustering.n_samples
    coverage = 1 - min(_n_singletons(clustering), n - 1) / n
    seen = [coverage * p for p in clustering.frequencies]
    return math.fsum(q * math.log(1 / q) / (1 - (1 - q) ** n) for q in seen)


def miller_madow_entropy(clustering: Clustering) -> float:
    """Semantic entropy + (K - 1) / 2N, in nats: the first-order correction of its bias (Miller 1955)."""
    return semantic_entropy(clustering) + (clustering.n_clusters - 1) / (2 * clustering.n_samples)


def _n_singletons(clustering: Clustering) -> int:
    return clustering.counts.count(1)
