"""Is a promise still kept? A test of answers that are labelled after it was given, valid however often one looks.

Of m audited answers k were wrong. The evidence against an error rate of at most alpha is an e-value: the likelihood
ratio of the worse rates, all alike from alpha to 1, to alpha itself (the mixture of Robbins 1970). While the rate is at
most alpha it is a supermartingale that starts at 1, so that it ever reaches 1 / level with probability at most `level`
(Ville 1939): the labels may be looked at after each one, and the order in which they come does not matter. For deployed
models, Podkopaev & Ramdas (2022) track the risk in this way.

A model that turns bad after a long good time would be found late, as old answers weigh against the evidence. So time is
cut into windows, each tested by itself, and window j = 0, 1, ... may use delta / ((j + 1)(j + 2)), which adds up to
delta: a kept promise is suspended, ever, with probability at most delta.
"""

from __future__ import annotations

import math

from demur.calibration.binomial import log_binomial_cdf


def log_evidence(errors: int, n: int, alpha: float) -> float:
    """ln of the e-value against an error rate of at most alpha; 0 without answers, finite.

    integral over q in (alpha, 1) of (q / alpha)^k ((1 - q) / (1 - alpha))^(m - k) dq / (1 - alpha), with k errors in m:
    an incomplete beta integral, which is a binomial tail.
    """
    if not (0 < alpha < 1 and 0 <= errors <= n):
        raise ValueError(f"need 0 < alpha < 1 and 0 <= errors <= n, got {alpha}, {errors}, {n}")
    log_beta = math.lgamma(errors + 1) + math.lgamma(n - errors + 1) - math.lgamma(n + 2)
    log_null = errors * math.log(alpha) + (n - errors) * math.log1p(-alpha)
    return log_binomial_cdf(errors, n + 1, alpha) + log_beta - log_null - math.log1p(-alpha)


def log_needed(window: int, delta: float) -> float:
    """ln(1 / level) of window 0, 1, ...: what its evidence must reach."""
    return math.log((window + 1) * (window + 2) / delta)
