"""How many of the samples agree."""

from __future__ import annotations

from demur.types import Clustering


def agreement(clustering: Clustering, semantic_id: int | None) -> float:
    """Share of samples in the answer's cluster, in [0, 1]; 0 where the answer lies in none.

    The share of the largest cluster overestimates the probability of its meaning, the more so the fewer the samples:
    calibrate it before reading it as one.
    """
    return 0.0 if semantic_id is None else clustering.frequencies[semantic_id]


def pair_agreement(clustering: Clustering) -> float | None:
    """Share of pairs of samples that agree, in [0, 1]: an unbiased estimate of sum p^2; None below two samples."""
    n = clustering.n_samples
    return sum(c * (c - 1) for c in clustering.counts) / (n * (n - 1)) if n > 1 else None
