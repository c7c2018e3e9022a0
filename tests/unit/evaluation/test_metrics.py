"""Discrimination, risk-coverage and calibration error: values by hand and by reference functions, then laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from demur.evaluation.calibration_error import (
    brier_score,
    calibration_gap,
    equal_mass_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    perfect_model_error,
    smooth_calibration_error,
)
from demur.evaluation.discrimination import auroc, point_biserial
from demur.evaluation.risk_coverage import (
    aurac,
    aurac_reference,
    aurc,
    e_aurc,
    oracle_coverage,
    risk_coverage_curve,
)

P = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1]
Y = [True, True, True, False, True, True, False, False, True, False]

judged = st.lists(st.tuples(st.sampled_from([i / 20 for i in range(21)]), st.booleans()), min_size=2, max_size=40)


def parted(rows: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [p for p, _ in rows], [y for _, y in rows]


def test_proper_scores_and_ranks_equal_the_worked_example() -> None:
    """Ten answers, computed by hand."""
    assert brier_score(P, Y) == pytest.approx(0.18875, abs=1e-12)
    assert negative_log_likelihood(P, Y) == pytest.approx(0.54147778596495, abs=1e-12)
    assert auroc(P, Y) == pytest.approx(0.7916666667, abs=1e-10)
    assert calibration_gap(P, Y) == pytest.approx(0.015, abs=1e-12)


def test_areas_equal_the_worked_example() -> None:
    """AURC, its optimum and the excess over it."""
    assert aurc(P, Y) == pytest.approx(0.2010714286, abs=1e-10)
    assert aurc(P, Y) - e_aurc(P, Y) == pytest.approx(0.1126190476, abs=1e-10)
    assert e_aurc(P, Y) == pytest.approx(0.0884523810, abs=1e-10)
    assert aurac(P, Y) == pytest.approx(0.7989285714, abs=1e-10)


@pytest.mark.parametrize(("n_bins", "expected"), [(1, 0.015), (5, 0.135), (10, 0.275)])
def test_bins_are_open_below_and_closed_above(n_bins: int, expected: float) -> None:
    """[lo, hi) would give .295 with five bins and .325 with ten, on the same ten answers."""
    assert expected_calibration_error(P, Y, n_bins=n_bins) == pytest.approx(expected, abs=1e-12)


def test_zero_and_one_fall_into_the_outer_bins() -> None:
    """And a number a hair above an edge, by rounding, stays below it."""
    assert expected_calibration_error([0.0, 1.0], [True, False], n_bins=10) == 1.0
    above = 0.1 + 0.2  # 0.30000000000000004
    assert expected_calibration_error([above, 0.21], [True, False], n_bins=10) == pytest.approx(
        abs(above + 0.21 - 1) / 2
    )


def test_equal_mass_bins_equal_the_worked_example() -> None:
    """Five bins of two."""
    assert equal_mass_calibration_error(P, Y, n_bins=5) == pytest.approx(0.305, abs=1e-12)


def test_smooth_error_is_close_to_the_reference_implementation() -> None:
    """relplot gives .0905819971: it sums 200 grid points where the definition has an integral."""
    assert smooth_calibration_error(P, Y) == pytest.approx(0.0905819971, abs=5e-4)


@pytest.mark.parametrize("width_found", [0.091796875])
def test_smooth_error_is_the_integral_of_its_definition(width_found: float) -> None:
    """A Gaussian of the width found, reflected at 0 and 1, and the plain integral over a fine grid."""
    grid = np.linspace(0, 1, 20_001)
    p, r = np.array(P), np.array(P) - np.array(Y, dtype=float)
    images = [sign * p + shift for shift in (-2, 0, 2) for sign in (1, -1)]
    kernels = sum(np.exp(-(((grid[:, None] - image) / width_found) ** 2) / 2) for image in images)
    smoothed = np.abs((kernels * r).mean(axis=1)) / (width_found * math.sqrt(2 * math.pi))
    assert smooth_calibration_error(P, Y) == pytest.approx(float(np.trapezoid(smoothed, grid)), abs=1e-6)


def test_smooth_error_of_a_constant_is_its_gap() -> None:
    """Always .8, right 60 times in 100."""
    assert smooth_calibration_error([0.8] * 100, [True] * 60 + [False] * 40) == pytest.approx(0.2, abs=1e-9)


def test_smooth_error_of_perfect_probabilities_vanishes() -> None:
    """Five levels, each right as often as it says."""
    p = [level for level in (0.1, 0.3, 0.5, 0.7, 0.9) for _ in range(10)]
    y = [i < round(10 * level) for level in (0.1, 0.3, 0.5, 0.7, 0.9) for i in range(10)]
    assert smooth_calibration_error(p, y) < 1e-12


def test_a_perfect_model_shows_an_error_that_shrinks_with_n() -> None:
    """About .103 on average at 30 uniform probabilities, .030 at 1000; the 95th percentile lies above."""
    random = np.random.default_rng(1)
    few, many = (perfect_model_error(random.random(n), n_worlds=60) for n in (30, 1000))
    assert 0.11 < few < 0.25
    assert 0.03 < many < 0.06


def test_reference_aurac_of_perfect_answers_is_not_one() -> None:
    """20 quantiles times .9 / 19."""
    assert aurac_reference([0.1, 0.2, 0.3], [True] * 3) == pytest.approx(0.9473684210526319, abs=1e-12)
    assert aurac([0.1, 0.2, 0.3], [True] * 3) == 1.0


def test_ties_spread_their_errors() -> None:
    """Four equal scores, one of them wrong: a risk of one quarter at every k."""
    curve = risk_coverage_curve([0.5] * 4, [True, False, True, True])
    assert curve.risk.tolist() == [0.25] * 4
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_the_oracle_cannot_part_equal_scores() -> None:
    """At .25: the six surest of the example hold one error, seven hold two; of equal scores all are taken or none."""
    assert oracle_coverage(P, Y, 0.25) == 0.6
    assert oracle_coverage([0.5] * 4, [True, False, True, True], 0.2) == 0.0
    assert oracle_coverage([0.5, 0.5, -math.inf], [True, True, False], 0.0) == pytest.approx(2 / 3)


def test_correlation_equals_that_of_the_formula() -> None:
    """1 for a score that is correctness itself; None where nothing varies."""
    assert point_biserial([0, 1, 1], [False, True, True]) == pytest.approx(1.0)
    assert point_biserial(P, Y) == pytest.approx(float(np.corrcoef(P, Y)[0, 1]))
    assert point_biserial([1, 1], [True, False]) is None


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_kind_of_label_has_no_auroc(labels: list[bool]) -> None:
    """None, rather than a number that means nothing."""
    assert auroc([0.1, 0.9], labels) is None


@pytest.mark.parametrize("p", [[math.nan, 0.5], [1.1, 0.5], [0.5], []])
def test_what_is_no_probability_is_refused(p: list[float]) -> None:
    """Not dropped in silence."""
    with pytest.raises(ValueError, match="probabilit"):
        brier_score(p, [True, False])


@given(judged)
def test_metrics_equal_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    """AUROC with ties, Brier score and log-loss."""
    p, y = parted(rows)
    assert brier_score(p, y) == pytest.approx(brier_score_loss(y, p, pos_label=True), abs=1e-12)
    inside = np.clip(p, 1e-9, 1 - 1e-9)
    assert negative_log_likelihood(inside, y) == pytest.approx(log_loss(y, inside, labels=[False, True]), abs=1e-9)
    if len(set(y)) == 2:
        assert auroc(p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-12)


@given(judged)
def test_auroc_sees_order_alone(rows: list[tuple[float, bool]]) -> None:
    """Unchanged by a strictly rising map; turned round by a sign; a constant is worth one half."""
    p, y = parted(rows)
    area = auroc(p, y)
    assert auroc([math.exp(3 * v) for v in p], y) == area
    if area is not None:
        assert auroc([-v for v in p], y) == pytest.approx(1 - area)
        assert auroc([0.5] * len(p), y) == 0.5


@given(judged, st.randoms())
def test_the_order_of_the_rows_changes_nothing(rows: list[tuple[float, bool]], random: object) -> None:
    """Ties included."""
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for metric in (aurc, e_aurc, brier_score, expected_calibration_error, smooth_calibration_error):
        assert metric(*parted(rows)) == pytest.approx(metric(*parted(shuffled)), abs=1e-12)


@given(judged)
def test_areas_lie_between_perfect_and_worst(rows: list[tuple[float, bool]]) -> None:
    """0 <= E-AURC <= AURC <= 1, and the curve ends at the error rate."""
    p, y = parted(rows)
    assert 0 <= e_aurc(p, y) <= aurc(p, y) <= 1
    assert risk_coverage_curve(p, y).risk[-1] == pytest.approx(1 - sum(y) / len(y))


@given(judged)
def test_calibration_errors_are_bounded_below_by_the_gap(rows: list[tuple[float, bool]]) -> None:
    """Binned or smoothed, errors of opposite sign can only cancel within reach: |gap| <= error <= 1."""
    p, y = parted(rows)
    gap = abs(calibration_gap(p, y))
    for error in (
        expected_calibration_error(p, y, n_bins=7),
        equal_mass_calibration_error(p, y, n_bins=3),
        smooth_calibration_error(p, y),
    ):
        assert gap - 1e-6 <= error <= 1 + 1e-9
