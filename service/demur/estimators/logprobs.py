"""Which log-probabilities can be computed with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from demur.types import Sample

PLACEHOLDER = -9999.0  # what OpenAI-compatible servers write where they know no logprob
_ROUNDING = 1e-6  # a certain token may come out a hair above probability 1


def are_usable(logprobs: Sequence[float] | None) -> bool:
    """Whether there are any, and each is the logarithm of a probability: no NaN, no infinity, no placeholder."""
    return bool(logprobs) and all(PLACEHOLDER < logprob <= _ROUNDING for logprob in logprobs or ())


def complete_raw_samples(samples: Sequence[Sample]) -> list[Sample] | None:
    """The samples that the model finished, if the model's own logprobs are known for each of them; else None.

    A sample cut by length is a prefix of many answers: its probability is not that of an answer.
    """
    complete = [sample for sample in samples if not sample.is_truncated]
    has_all = all(sample.logprob_source == "raw" and are_usable(sample.token_logprobs) for sample in complete)
    return complete if complete and has_all else None


def logsumexp(logarithms: Sequence[float]) -> float:
    """ln sum exp(x), without underflow: 1,000 nats below zero lose nothing."""
    largest = max(logarithms)
    return largest + math.log(math.fsum(math.exp(x - largest) for x in logarithms))
