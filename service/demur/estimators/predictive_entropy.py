"""Predictive entropy: how improbable the answers are as strings, whatever they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from demur.estimators.logprobs import complete_raw_samples
from demur.types import Sample


def predictive_entropy(samples: Sequence[Sample]) -> float | None:
    """-(1/N) sum ln p(s) over the N finished samples, in nats, >= 0: a Monte Carlo estimate of the entropy of answers.

    Grows with length, and counts two wordings of one answer as two. None without raw logprobs (Kadavath et al. 2022).
    """
    complete = complete_raw_samples(samples)
    if complete is None:
        return None
    return _mean_loss([math.fsum(s.token_logprobs or ()) for s in complete])


def length_normalized_predictive_entropy(samples: Sequence[Sample]) -> float | None:
    """The same with the mean token logprob in place of the sum, in nats per token (Malinin & Gales 2021)."""
    complete = complete_raw_samples(samples)
    if complete is None:
        return None
    return _mean_loss([math.fsum(s.token_logprobs or ()) / len(s.token_logprobs or ()) for s in complete])


def _mean_loss(logprobs: Sequence[float]) -> float:
    return max(0.0, -math.fsum(logprobs) / len(logprobs))
