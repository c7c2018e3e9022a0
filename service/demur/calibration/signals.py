"""The numbers that a calibrator may read, as they are read: the same for fitting and for serving."""

from __future__ import annotations

import math
from typing import get_args

from demur.types import SignalName, TokenConfidence, Uncertainty

SIGNALS: tuple[SignalName, ...] = get_args(SignalName)

_LOGPROB_MIN = -20.0  # below, a token is as good as impossible, and one of them would outweigh every other signal


def read_signals(
    uncertainty: Uncertainty, tokens: TokenConfidence | None, *, n_samples: int, greedy_agrees: bool | None
) -> dict[SignalName, float]:
    """The signals of one answer by name; one that is missing is left out.

    `agreement` is (c + 1/2) / (N + 1) for c of N samples, so that unanimity is not certainty. `semantic_entropy` is
    divided by ln N. Logprobs, in nats, are the greedy answer's own: another's, or tempered ones, are another number.
    """
    agreement = uncertainty.agreement
    found: dict[SignalName, float | None] = {
        "agreement": None if agreement is None else (agreement * n_samples + 0.5) / (n_samples + 1),
        "semantic_entropy": uncertainty.semantic_entropy_normalized,
        "greedy_agrees": None if greedy_agrees is None else float(greedy_agrees),
        "sample_coverage": uncertainty.sample_coverage,
    }
    found.update(token_signals(tokens))
    return {name: value for name in SIGNALS if (value := found.get(name)) is not None}


def token_signals(tokens: TokenConfidence | None) -> dict[SignalName, float]:
    """Those that the greedy answer gives by itself; none of another's, nor of tempered logprobs."""
    if tokens is None or tokens.kind != "greedy" or tokens.source != "raw":
        return {}
    return {
        "mean_logprob": max(_LOGPROB_MIN, tokens.mean_logprob),
        "min_logprob": math.log(max(math.exp(_LOGPROB_MIN), tokens.min)),
    }
