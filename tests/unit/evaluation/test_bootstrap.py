"""Intervals, paired differences and families of tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from demur.evaluation.bootstrap import bootstrap_interval, holm, paired_bootstrap

Rows = NDArray[np.int64]


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    """n = 400 values of variance 1: 1.96 / 20 on either side."""
    values = np.random.default_rng(0).standard_normal(400)
    found = bootstrap_interval(lambda rows: float(values[rows].mean()), range(400), n_draws=2000)
    assert found is not None
    assert found.value == values.mean()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_answers_to_one_question_are_drawn_together() -> None:
    """100 questions asked four times each tell as much as 100, and not as 400."""
    values = np.repeat(np.random.default_rng(0).standard_normal(100), 4)
    groups = np.repeat(np.arange(100), 4)

    def mean(rows: Rows) -> float:
        return float(values[rows].mean())

    grouped, alone = (bootstrap_interval(mean, g, n_draws=1000) for g in (groups, np.arange(400)))
    assert grouped is not None
    assert alone is not None
    assert (grouped.high - grouped.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.15)


def test_what_cannot_be_measured_has_no_interval() -> None:
    """A statistic that is None on the data, or on most draws."""
    assert bootstrap_interval(lambda rows: None, range(10)) is None
    assert bootstrap_interval(lambda rows: 1.0 if len(set(rows.tolist())) == 10 else None, range(10)) is None


def test_a_pair_shares_its_noise() -> None:
    """A constant head start is seen through noise that would hide it, were the two drawn apart."""
    noise = np.random.default_rng(0).standard_normal(200) * 10

    def ahead(rows: Rows) -> float:
        return float((noise[rows] + 0.1).mean())

    def behind(rows: Rows) -> float:
        return float(noise[rows].mean())

    found = paired_bootstrap(ahead, behind, range(200), n_draws=500)
    assert found is not None
    assert found.interval.low == pytest.approx(0.1)
    assert found.p_value == pytest.approx(2 / 501)


def test_no_difference_has_no_small_p_value() -> None:
    """The same statistic twice: every draw is a tie."""
    found = paired_bootstrap(lambda r: float(r.mean()), lambda r: float(r.mean()), range(50), n_draws=100)
    assert found is not None
    assert found.p_value == 1.0


def test_holm_equals_the_worked_example() -> None:
    """.01 x 4, .03 x 3 = .09, then .04 x 2 = .08 raised to .09, and .05 likewise."""
    assert holm([0.04, 0.01, 0.03, 0.05]) == pytest.approx([0.09, 0.04, 0.09, 0.09])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    """p <= adjusted <= min(1, m p), in the same order."""
    adjusted = holm(p_values)
    for p, a in zip(p_values, adjusted, strict=True):
        assert p <= a <= min(1.0, len(p_values) * p) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_what_is_no_p_value_is_refused() -> None:
    """Rather than adjusted."""
    with pytest.raises(ValueError, match="not a p-value"):
        holm([0.5, 1.5])
