"""Exact tails and bounds, against values worked out elsewhere and against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from demur.calibration.binomial import binomial_cdf, n_without_error, upper_bound


@pytest.mark.parametrize(
    ("k", "n", "delta", "bound"),
    [
        (0, 59, 0.05, 0.04950761),
        (0, 58, 0.05, 0.05033934),
        (1, 93, 0.05, 0.04999398),
        (5, 100, 0.05, 0.10225338),
        (10, 200, 0.05, 0.08333515),
        (0, 22, 0.1, 0.0993720),
        (3, 3, 0.05, 1.0),
        (0, 0, 0.05, 1.0),
    ],
)
def test_clopper_pearson_bounds(k: int, n: int, delta: float, bound: float) -> None:
    """Upper bounds on an error rate after k errors in n."""
    assert upper_bound(k, n, delta) == pytest.approx(bound, abs=1e-7)


@pytest.mark.parametrize(
    ("n", "k", "p"),
    [
        (40, 0, 0.014781),
        (60, 1, 0.013777),
        (80, 2, 0.010684),
        (100, 4, 0.023711),
        (120, 7, 0.078399),
        (140, 12, 0.347984),
    ],
)
def test_p_values_of_the_planning_table(n: int, k: int, p: float) -> None:
    """P(at most k errors in n) at a rate of .1."""
    assert binomial_cdf(k, n, 0.1) == pytest.approx(p, abs=1e-6)


@pytest.mark.parametrize(
    ("alpha", "delta", "n"), [(0.05, 0.05, 59), (0.1, 0.1, 22), (0.1, 0.05, 29), (0.01, 0.05, 299)]
)
def test_trials_without_an_error(alpha: float, delta: float, n: int) -> None:
    """The fewest that show a rate of at most alpha: n do, n - 1 do not."""
    assert n_without_error(alpha, delta) == n
    assert binomial_cdf(0, n, alpha) <= delta < binomial_cdf(0, n - 1, alpha)


@given(st.integers(0, 3000), st.integers(-1, 3000), st.floats(0, 1))
def test_tails_equal_scipy(n: int, k: int, p: float) -> None:
    """From no trial to 3,000, and beyond both ends."""
    assert binomial_cdf(k, n, p) == pytest.approx(float(binom.cdf(k, n, p)), abs=1e-10)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.01, 0.05, 0.1, 0.5]))
def test_the_bound_is_where_the_tail_is_delta(n: int, data: st.DataObject, delta: float) -> None:
    """And rises with every error."""
    k = data.draw(st.integers(0, n - 1))
    bound = upper_bound(k, n, delta)
    assert binomial_cdf(k, n, bound) == pytest.approx(delta, abs=1e-9)
    assert bound < upper_bound(k + 1, n, delta)
