"""Semantic entropy: how spread the answers are over meanings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

from demur.estimators.logprobs import complete_raw_samples, logsumexp
from demur.types import Clustering, Sample

# Probabilities of different answers sum to at most 1. A little more is rounding between batches of a bfloat16 model; a
# lot more means that the numbers are not probabilities of whole answers.
_TOTAL_MASS_MAX = 1.01


def semantic_entropy(clustering: Clustering) -> float:
    """-sum p ln p over the shares p of samples in each cluster, in nats; needs no token probabilities.

    0 when all samples agree, ln(n) when all n differ; biased low for small n. The discrete estimator of Farquhar et
    al., Nature 2024.
    """
    if clustering.n_samples == 0:
        raise ValueError("semantic entropy of no samples")
    return math.fsum(p * math.log(1 / p) for p in clustering.frequencies)


def semantic_entropy_normalized(clustering: Clustering) -> float | None:
    """Semantic entropy / ln(n), in [0, 1]; None below two samples, where there is nothing to disagree."""
    if clustering.n_samples < 2:
        return None
    return min(1.0, semantic_entropy(clustering) / math.log(clustering.n_samples))


def semantic_entropy_weighted(clustering: Clustering, samples: Sequence[Sample]) -> float | None:
    """-sum p ln p over the clusters' shares of probability, in nats, in [0, ln K].

    Each distinct token sequence counts once, with exp of its logprob: counting draws as well would weight a sequence by
    its probability twice. None without raw logprobs for every finished sample.
    """
    weighted = _unique_sequences(clustering, samples)
    return None if weighted is None else rao_entropy(*weighted)


def cluster_masses(clustering: Clustering, samples: Sequence[Sample]) -> tuple[float | None, ...] | None:
    """Each cluster's share of probability, indexed by semantic id, summing to 1; None where the weighted entropy is.

    A single cluster is None where all its samples were cut by length.
    """
    weighted = _unique_sequences(clustering, samples)
    if weighted is None:
        return None
    shares = _log_shares(*weighted)
    return tuple(math.exp(shares[k]) if k in shares else None for k in range(clustering.n_clusters))


def rao_entropy(semantic_ids: Sequence[int], logprobs: Sequence[float]) -> float:
    """-sum p ln p, in nats, where ln p(cluster) = logsumexp over its members - logsumexp over all.

    The estimator of Farquhar et al.'s code, which feeds it mean token logprobs; unchanged when a constant is added to
    every logprob.
    """
    shares = _log_shares(semantic_ids, logprobs)
    return max(0.0, math.fsum(-share * math.exp(share) for share in shares.values()))


def _log_shares(semantic_ids: Sequence[int], logprobs: Sequence[float]) -> dict[int, float]:
    members: defaultdict[int, list[float]] = defaultdict(list)
    for semantic_id, logprob in zip(semantic_ids, logprobs, strict=True):
        members[semantic_id].append(logprob)
    total = logsumexp(logprobs)
    return {semantic_id: logsumexp(logs) - total for semantic_id, logs in members.items()}


def _unique_sequences(clustering: Clustering, samples: Sequence[Sample]) -> tuple[list[int], list[float]] | None:
    """Semantic ids and logprobs of the distinct token sequences; of texts, where the tokens are not known."""
    complete = complete_raw_samples(samples)
    if complete is None:
        return None
    id_of = dict(zip(map(_sequence, samples), clustering.semantic_ids, strict=True))
    best: dict[Hashable, float] = {}
    for sample in complete:
        logprob = math.fsum(sample.token_logprobs or ())
        best[_sequence(sample)] = max(logprob, best.get(_sequence(sample), -math.inf))
    if logsumexp(list(best.values())) > math.log(_TOTAL_MASS_MAX):
        return None
    return [id_of[sequence] for sequence in best], list(best.values())


def _sequence(sample: Sample) -> Hashable:
    return sample.tokens or sample.text
