"""How probable the model found the tokens of one answer."""

from __future__ import annotations

import math

from demur.estimators.logprobs import are_usable
from demur.types import Sample, TokenConfidence

_MEAN_LOGPROB_MIN = -700.0  # below, the perplexity has no floating-point number


def token_confidence(sample: Sample) -> TokenConfidence | None:
    """Mean and least token probability, sequence logprob, and perplexity = exp(-mean logprob), over all tokens drawn.

    None without usable logprobs: a NaN, an infinity or a placeholder for one token leaves no number for the answer.
    """
    logprobs = sample.token_logprobs
    if logprobs is None or not are_usable(logprobs):
        return None
    total = min(0.0, math.fsum(logprobs))
    mean = total / len(logprobs)
    if mean < _MEAN_LOGPROB_MIN:
        return None
    probabilities = [min(1.0, math.exp(logprob)) for logprob in logprobs]
    return TokenConfidence(
        mean=math.fsum(probabilities) / len(logprobs),
        min=min(probabilities),
        sequence_logprob=total,
        mean_logprob=mean,
        perplexity=math.exp(-mean),
        num_tokens=len(logprobs),
        kind="greedy" if sample.is_greedy else "sampled",
        source=sample.logprob_source,
    )
