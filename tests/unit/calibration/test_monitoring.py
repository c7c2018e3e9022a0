"""The test of a promise that was given: its values, and that it may be looked at as often as one likes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from demur.calibration.monitoring import log_evidence, log_needed


def test_no_answers_are_no_evidence() -> None:
    assert log_evidence(0, 0, 0.1) == pytest.approx(0, abs=1e-12)


def test_one_answer_by_hand() -> None:
    """An error: the mean of q / alpha over (alpha, 1), (1 + alpha) / (2 alpha) = 5.5 at .1; none: .5."""
    assert math.exp(log_evidence(1, 1, 0.1)) == pytest.approx(5.5)
    assert math.exp(log_evidence(0, 1, 0.1)) == pytest.approx(0.5)


@pytest.mark.parametrize(("errors", "n", "alpha"), [(3, 5, 0.1), (20, 100, 0.1), (0, 50, 0.05), (60, 400, 0.2)])
def test_it_is_the_mixture_it_says(errors: int, n: int, alpha: float) -> None:
    """By numerical integration."""

    def ratio(q: float) -> float:
        return float((q / alpha) ** errors * ((1 - q) / (1 - alpha)) ** (n - errors) / (1 - alpha))

    mean, _ = quad(ratio, alpha, 1, limit=500, points=[max(alpha, errors / n)])
    assert log_evidence(errors, n, alpha) == pytest.approx(math.log(mean), abs=1e-6)


def test_many_good_answers_are_evidence_for_the_promise() -> None:
    """100,000 without an error: the tail behind it has no digits left as a number, and 10,000 nats as a logarithm."""
    assert -30 < log_evidence(0, 100_000, 0.1) < -10


@given(st.integers(0, 60), st.floats(0.01, 0.5))
def test_at_alpha_its_mean_is_one(n: int, alpha: float) -> None:
    """Which makes it an e-value: exact, over all numbers of errors."""
    weights = [math.comb(n, k) * alpha**k * (1 - alpha) ** (n - k) for k in range(n + 1)]
    mean = math.fsum(w * math.exp(log_evidence(k, n, alpha)) for k, w in enumerate(weights))
    assert mean == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_looking_after_every_label_is_within_its_level(alpha: float) -> None:
    """P(ever over 1 / level in 300 labels at an error rate of alpha), exact by dynamic programming: Ville's bound."""
    level, alive, crossed = 0.05, np.array([1.0]), 0.0
    for n in range(1, 301):
        alive = np.append(alive * (1 - alpha), 0.0) + np.append(0.0, alive * alpha)
        over = np.array([log_evidence(k, n, alpha) >= math.log(1 / level) for k in range(n + 1)])
        crossed += float(alive[over].sum())
        alive = np.where(over, 0.0, alive)
    assert 0.1 * level < crossed <= level


def test_a_broken_promise_is_found() -> None:
    """Three errors in ten where one was promised: the expected counts reach the first window's bound by 100 labels."""
    assert log_evidence(30, 100, 0.1) > log_needed(0, 0.1)
    assert log_evidence(10, 100, 0.1) < 0


def test_windows_share_delta() -> None:
    """1/2, 1/6, 1/12 ... of it."""
    shares = [math.exp(-log_needed(j, 0.1)) for j in range(10_000)]
    assert shares[:3] == pytest.approx([0.05, 0.1 / 6, 0.1 / 12])
    assert 0.0999 < math.fsum(shares) <= 0.1


@pytest.mark.parametrize(("errors", "n", "alpha"), [(2, 1, 0.1), (-1, 1, 0.1), (0, 1, 0.0), (0, 1, 1.0)])
def test_nonsense_is_refused(errors: int, n: int, alpha: float) -> None:
    with pytest.raises(ValueError, match="need 0 < alpha < 1"):
        log_evidence(errors, n, alpha)
