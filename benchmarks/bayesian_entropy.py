"""What is known of the semantic entropy after a few samples: its posterior mean and variance.

Bayesian semantic entropy (Ciosek et al., arXiv 2504.03579): the meanings' shares have a Dirichlet prior over a support
of unknown size, samples are counts of it, and the probabilities of the strings that were seen bound each share from
below. Here the moments are not drawn by importance sampling but added up on a grid, so that they are always the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demur.types import Clustering, Sample

CONCENTRATION = 0.5
SUPPORT = 7  # meanings at most, unless more were seen
BINS = 256
ROUNDING = 1e-5  # probabilities come from logarithms in float32


@dataclass(frozen=True, slots=True)
class Posterior:
    """Of the entropy, in nats, and in nats squared."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of the density over all ways to spread so much mass, by mass: itself, times the entropy, times its square."""

    density: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def with_meaning(self, weight: NDArray[np.float64], entropy: NDArray[np.float64]) -> _Sums:
        once, twice = weight * entropy, weight * entropy**2
        return _Sums(
            _convolved(self.density, weight),
            _convolved(self.first, weight) + _convolved(self.density, once),
            _convolved(self.second, weight) + 2 * _convolved(self.first, once) + _convolved(self.density, twice),
        )

    def of_all(self, n_meanings: int) -> NDArray[np.float64]:
        """Where all mass is spread. Each share stands in the middle of its bin: half a bin is gone with each."""
        place = BINS - n_meanings / 2
        low, high = math.floor(place), min(math.ceil(place), BINS - 1)
        return np.array([(part[low] + part[high]) / 2 for part in (self.density, self.first, self.second)])


def entropy_posterior(
    counts: Sequence[int],
    masses: Sequence[float] | None = None,
    *,
    support: int = SUPPORT,
    concentration: float = CONCENTRATION,
) -> Posterior:
    """After so many samples of each meaning. `masses`: probability of the different strings seen of each; they sum to 1
    at most. Every size of the support from the number of meanings seen up to `support` is as likely beforehand.

    Raises: ValueError without samples, and where the masses exceed 1.
    """
    known = list(masses) if masses is not None else [0.0] * len(counts)
    left = 1 - math.fsum(known)
    if not counts or min(counts) < 1 or len(known) != len(counts) or left < -ROUNDING:
        raise ValueError(f"no counts of meanings with the probability seen of each: {counts}, {masses}")
    if left < ROUNDING:
        return Posterior(math.fsum(-mass * math.log(mass) for mass in known if mass), 0.0)
    logs, moments = zip(*_by_support(counts, known, left, max(support, len(counts)), concentration), strict=True)
    weights = np.exp(np.array(logs) - max(logs))
    mean, square = (weights / weights.sum()) @ np.array(moments)
    return Posterior(float(mean), max(0.0, float(square - mean**2)))


def seen_masses(
    clustering: Clustering, samples: Sequence[Sample], greedy: Sample | None, greedy_id: int | None
) -> list[float]:
    """Of each meaning: the probability of its different token sequences, the greedy answer's among them where it has
    that meaning. A sample that was cut by length is a prefix of many answers, and counts for nothing."""
    ids = [*clustering.semantic_ids, *([] if greedy_id is None else [greedy_id])]
    placed = zip([*samples, *([greedy] if greedy and greedy_id is not None else [])], ids, strict=True)
    known = {sample.tokens: (id_, sample.sequence_logprob) for sample, id_ in placed if not sample.is_truncated}
    found = [0.0] * clustering.n_clusters
    for id_, logprob in known.values():
        found[id_] += 0.0 if logprob is None else math.exp(logprob)
    return found


def _by_support(
    counts: Sequence[int], known: Sequence[float], left: float, support: int, concentration: float
) -> Iterator[tuple[float, tuple[float, float]]]:
    """For each size of the support: the logarithm of its likelihood, and the entropy's mean and mean square."""
    nothing = np.zeros(BINS)
    start = np.zeros(BINS)
    start[0] = 1.0
    sums = _Sums(start, nothing, nothing)
    seen = len(counts)
    for size in range(1, support + 1):
        count, mass = (counts[size - 1], known[size - 1]) if size <= seen else (0, 0.0)
        sums = sums.with_meaning(*_share(mass, left, count + concentration))
        if size >= seen:
            density, first, second = sums.of_all(size)
            prior = math.lgamma(size * concentration) - size * math.lgamma(concentration)
            namings = math.lgamma(size + 1) - math.lgamma(size - seen + 1)  # which of the support were seen
            yield prior + namings + math.log(density), (first / density, second / density)


def _share(mass: float, left: float, exponent: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of one meaning, which has `mass` and some of what is `left`: its density in each bin, and its entropy there."""
    edges = mass + left * np.linspace(0, 1, BINS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    return np.diff(edges**exponent) / exponent, -middle * np.log(middle)


def _convolved(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.convolve(one, other)[:BINS]
