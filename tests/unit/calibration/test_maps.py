"""Platt's, the isotonic and the fused map: fits computed elsewhere, then the laws of fitting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from demur.calibration.base import FloatArray, logit
from demur.calibration.fused import FusedCalibrator, fit_fused
from demur.calibration.isotonic import fit_isotonic, pool_adjacent_violators
from demur.calibration.logistic import fit_logistic
from demur.calibration.platt import PlattCalibrator, fit_platt, platt_targets

P = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1])[:, None]
Y = np.array([1, 1, 1, 0, 1, 1, 0, 0, 1, 0], dtype=bool)

labelled = st.lists(
    st.tuples(st.sampled_from([(c + 0.5) / 11 for c in range(11)]), st.booleans()), min_size=4, max_size=60
).filter(lambda rows: len({y for _, y in rows}) == 2)


def arrays(rows: list[tuple[float, bool]]) -> tuple[FloatArray, np.ndarray]:
    return np.array([[s] for s, _ in rows]), np.array([y for _, y in rows])


def many(n: int, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    """Three signals, the first a share; correctness follows the first two."""
    random = np.random.default_rng(seed)
    values = np.column_stack([random.uniform(0.05, 0.95, n), random.normal(3, 2, n), random.normal(0, 1, n)])
    z = logit(values[:, 0]) - 0.5 * (values[:, 1] - 3)
    return values, random.random(n) < 1 / (1 + np.exp(-z))


def test_targets_are_pulled_off_the_labels() -> None:
    """Six correct, four wrong: 7/8 and 1/6."""
    assert platt_targets(Y).tolist() == pytest.approx([0.875 if y else 1 / 6 for y in Y])


def test_the_plain_fit_equals_the_reference() -> None:
    """Maximum likelihood on the logit, without regularised targets."""
    weights, intercept = fit_logistic(logit(P), Y.astype(float))
    assert (weights[0], intercept) == pytest.approx((0.86089871, -0.02975481), abs=1e-7)


def test_platts_fit_equals_the_reference() -> None:
    """With regularised targets."""
    fitted = fit_platt(P, Y)
    assert (fitted.slope, fitted.intercept) == pytest.approx((0.53409091, 0.07893412), abs=1e-7)


def test_platts_map_can_leave_a_share_as_it_is() -> None:
    """Slope 1 and intercept 0: what a fit to probabilities that are right must be able to say."""
    values = np.linspace(0.01, 0.99, 99)[:, None]
    assert PlattCalibrator(1.0, 0.0).p_correct(values) == pytest.approx(values[:, 0], abs=1e-12)


def test_labels_that_are_right_recover_the_identity() -> None:
    """20,000 answers, each correct as often as its share says."""
    random = np.random.default_rng(0)
    values = random.uniform(0.02, 0.98, (20_000, 1))
    fitted = fit_platt(values, random.random(20_000) < values[:, 0])
    assert (fitted.slope, fitted.intercept) == pytest.approx((1, 0), abs=0.05)


def test_a_score_that_runs_backwards_is_refused() -> None:
    """A negative slope would call disagreement confidence."""
    with pytest.raises(ValueError, match="runs against correctness"):
        fit_platt(P, ~Y)


def test_separable_labels_leave_a_finite_slope() -> None:
    """Regularised targets have a minimum where labels have none."""
    values, y = np.array([[0.1], [0.2], [0.8], [0.9]]), np.array([False, False, True, True])
    assert 0 < fit_platt(values, y).slope < 10
    with pytest.raises(ValueError, match=r"does not settle|no single minimum"):
        fit_logistic(logit(values), y.astype(float))


def test_violators_are_pooled() -> None:
    """0 1 0 1 1 -> 0 .5 .5 1 1."""
    assert pool_adjacent_violators([0, 1, 0, 1, 1], [1] * 5).tolist() == [0, 0.5, 0.5, 1, 1]


def test_isotonic_levels_stay_off_zero_and_one() -> None:
    """Five labels allow 1/7 to 6/7."""
    fitted = fit_isotonic(np.array([[0.1], [0.3], [0.5], [0.7], [0.9]]), np.array([0, 1, 0, 1, 1], dtype=bool))
    assert fitted.levels == pytest.approx((1 / 7, 0.5, 6 / 7))
    assert fitted.starts == (0.1, 0.3, 0.7)
    probed = np.array([[0.0], [0.29], [0.3], [0.69], [1.0]])
    assert fitted.p_correct(probed) == pytest.approx([1 / 7, 1 / 7, 0.5, 0.5, 6 / 7])


def test_the_fused_fit_equals_scikit_learn() -> None:
    """The same ridge on the same standardised columns: scikit-learn's C is 1 / ridge."""
    values, y = many(400)
    fitted = fit_fused(values, y, ("agreement", "mean_logprob", "min_logprob"), ridge=2.0)
    columns = np.column_stack([logit(values[:, 0]), values[:, 1:]])
    standardised = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(standardised, y)
    assert fitted.weights == pytest.approx(reference.coef_[0], abs=1e-5)
    assert fitted.intercept == pytest.approx(reference.intercept_[0], abs=1e-5)
    assert fitted.p_correct(values) == pytest.approx(reference.predict_proba(standardised)[:, 1], abs=1e-6)


def test_the_fused_map_learns_which_signals_tell() -> None:
    """The third one is noise."""
    values, y = many(2000)
    weights = fit_fused(values, y, ("agreement", "mean_logprob", "min_logprob")).weights
    assert weights[0] > 0.5
    assert weights[1] < -0.5
    assert abs(weights[2]) < 0.2


def test_a_signal_that_never_varied_is_not_read() -> None:
    """Whatever it is later: nothing was learnt about it."""
    values, y = many(300)
    values[:, 2] = 7.0
    fitted = fit_fused(values, y, ("agreement", "mean_logprob", "sample_coverage"))
    moved = values.copy()
    moved[:, 2] = -100.0
    assert fitted.p_correct(moved) == pytest.approx(fitted.p_correct(values), abs=1e-9)


@pytest.mark.parametrize(
    "change", [{"signals": ()}, {"scales": (1.0, 0.0)}, {"weights": (1.0,)}, {"signals": ("agreement", "agreement")}]
)
def test_a_fused_map_must_be_whole(change: dict[str, tuple[float, ...]]) -> None:
    """A number for every signal, and no scale of 0."""
    whole = {"signals": ("agreement", "mean_logprob"), "means": (0.0, 0.0), "scales": (1.0, 1.0), "weights": (1.0, 1.0)}
    FusedCalibrator(**whole, intercept=0.0, ridge=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"signals|scales|weight"):
        FusedCalibrator(**{**whole, **change}, intercept=0.0, ridge=1.0)  # type: ignore[arg-type]


@given(labelled)
def test_pooling_equals_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    """On the scores fitted on, and idempotent: what is monotone already stays."""
    values, y = arrays(rows)
    scores, places = np.unique(values[:, 0], return_inverse=True)
    counts = np.bincount(places).astype(float)
    pooled = pool_adjacent_violators(np.bincount(places, weights=y) / counts, counts)
    reference = IsotonicRegression().fit(values[:, 0], y).predict(scores)
    assert pooled == pytest.approx(reference, abs=1e-9)
    assert pool_adjacent_violators(pooled, counts) == pytest.approx(pooled, abs=1e-12)


@given(labelled)
def test_isotonic_keeps_the_rate_of_what_it_saw(rows: list[tuple[float, bool]]) -> None:
    """The mean of the levels is the share that was correct, but for the bounds."""
    values, y = arrays(rows)
    assert abs(float(fit_isotonic(values, y).p_correct(values).mean()) - float(y.mean())) <= 1 / (len(y) + 2)


@given(labelled)
def test_platts_fit_is_a_minimum(rows: list[tuple[float, bool]]) -> None:
    """The mean probability is the mean target: the gradient of the intercept vanishes."""
    values, y = arrays(rows)
    try:
        fitted = fit_platt(values, y)
    except ValueError:
        return  # backwards, or a score that never varies
    assert float(fitted.p_correct(values).mean()) == pytest.approx(float(platt_targets(y).mean()), abs=1e-6)
    assert math.isfinite(fitted.slope)
