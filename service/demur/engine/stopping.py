"""When enough samples have landed to know which meaning leads: the others need not be finished."""

from __future__ import annotations

from collections.abc import Callable
from math import comb

from demur.types import Clustering, Sampling

CONFIDENCE = 0.95
_GROWTH = 1.4  # from a look to the next: 5, 7, 10, 14, 20, 28


def lead_probability(first: int, second: int) -> float:
    """P(the first of two meanings is the likelier one) after so many samples of each, with a uniform prior.

    P(Beta(first + 1, second + 1) > 1/2), the stop of Adaptive-Consistency (arXiv 2305.11860, section 3.2).
    """
    n = first + second + 1
    return float(sum(comb(n, k) for k in range(first + 1)) / 2**n)


def looks(min_n: int, n: int) -> tuple[int, ...]:
    """Numbers of samples at which to look; there is no need to when all `n` are there."""
    counts, count = [], min_n
    while count < n:
        counts.append(count)
        count = round(_GROWTH * count)
    return tuple(counts)


class EarlyStop:
    """Calls `stop` once, at the first look at which the leading meaning is ahead with a probability of 0.95."""

    def __init__(self, sampling: Sampling, stop: Callable[[], None]) -> None:
        self._looks = list(looks(sampling.min_n, sampling.n))
        self._stop = stop

    def look(self, landed: Clustering, *, is_settled: bool) -> None:
        """`landed`: the partition of what has landed; unless it `is_settled`, meanings may still turn out to be one.

        Merging only adds to the leader, or to those behind it: with all of these taken for one the stop is on the safe
        side. A look that is not settled is taken again when more is known.
        """
        if not self._looks or landed.n_samples < self._looks[0]:
            return
        first, second = _top_two(landed) if is_settled else _against_the_rest(landed)
        if lead_probability(first, second) >= CONFIDENCE:
            self._looks.clear()
            self._stop()
        elif is_settled:
            self._looks = [count for count in self._looks if count > landed.n_samples]


def _top_two(clustering: Clustering) -> tuple[int, int]:
    first, second, *_ = [*sorted(clustering.counts, reverse=True), 0]
    return first, second


def _against_the_rest(clustering: Clustering) -> tuple[int, int]:
    first = max(clustering.counts)
    return first, clustering.n_samples - first
