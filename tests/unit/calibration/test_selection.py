"""Which map is kept, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from demur.calibration.outcomes import Labelled
from demur.calibration.selection import MIN_LABELS, select
from demur.errors import NotCalibratable
from demur.types import SignalName

SIGNALS: tuple[SignalName, ...] = ("agreement", "mean_logprob")


def answers(n: int, weight: float, *, bend: bool = False, seed: int = 0) -> Labelled:
    """Correct as often as agreement says; `weight`: of the second signal in the logit; `bend`: .03, .5 or .97."""
    random = np.random.default_rng(seed)
    agreement, other = random.uniform(0.02, 0.98, n), random.normal(0, 1, n)
    p = 1 / (1 + np.exp(-(np.log(agreement / (1 - agreement)) + weight * other)))
    if bend:
        p = np.where(agreement > 0.9, 0.97, np.where(agreement > 0.1, 0.5, 0.03))
    return Labelled(SIGNALS, np.column_stack([agreement, other]), random.random(n) < p, np.arange(n))


def test_the_simplest_map_is_kept_where_it_is_right() -> None:
    """Platt's family holds the truth, so that nothing beats it by more than chance."""
    kept = select(answers(1500, 0.0))
    assert kept.calibrator.method == "platt"
    assert set(kept.brier) == {"platt", "fused", "isotonic"}


def test_a_second_signal_that_tells_is_used() -> None:
    """The fused map is better by far, and is kept."""
    kept = select(answers(1500, 2.0))
    assert kept.calibrator.method == "fused"
    assert kept.calibrator.signals == SIGNALS
    assert kept.brier["fused"] < kept.brier["platt"] - 0.02


def test_a_bent_curve_needs_the_isotonic_map() -> None:
    """Flat in the middle and steep at the ends: no logistic curve."""
    assert select(answers(6000, 0.0, bend=True)).calibrator.method == "isotonic"


@pytest.mark.parametrize(("n", "tried"), [(120, {"platt"}), (300, {"platt", "fused"})])
def test_maps_with_more_freedom_wait_for_more_labels(n: int, tried: set[str]) -> None:
    """100, 200 and 1,000."""
    assert set(select(answers(n, 0.0)).brier) == tried


def test_one_signal_is_not_fused() -> None:
    """That would be Platt's map again."""
    both = answers(300, 0.0)
    alone = Labelled(("agreement",), both.values[:, :1], both.is_correct, both.groups)
    assert set(select(alone).brier) == {"platt"}


def test_a_method_asked_for_is_the_one_fitted() -> None:
    """Whatever beats it."""
    assert select(answers(300, 2.0), "platt").calibrator.method == "platt"


@pytest.mark.parametrize("method", ["platt", "fused", "isotonic", "auto"])
def test_too_few_labels_are_refused(method: str) -> None:
    """The message says how many more."""
    needed = MIN_LABELS.get(method, 100)  # type: ignore[call-overload]
    with pytest.raises(NotCalibratable, match=f"{needed} are needed, 1 more"):
        select(answers(needed - 1, 0.0), method)  # type: ignore[arg-type]


def test_labels_all_alike_are_refused() -> None:
    """Nothing tells the answers apart."""
    one = answers(200, 0.0)
    with pytest.raises(NotCalibratable, match="all 200 answers are correct"):
        select(Labelled(SIGNALS, one.values, np.ones(200, dtype=bool), one.groups))


def test_a_score_that_runs_backwards_is_refused() -> None:
    """Where agreement goes with errors, it is no confidence."""
    one = answers(500, 0.0)
    with pytest.raises(NotCalibratable, match="runs against correctness"):
        select(Labelled(SIGNALS, one.values, ~one.is_correct, one.groups), "platt")


def test_answers_to_one_question_are_held_out_together() -> None:
    """Copies in both halves would make the held-out score that of memory: 40 questions, asked 50 times each."""
    random = np.random.default_rng(0)
    agreement, labels = np.repeat(random.uniform(0, 1, 40), 50), np.repeat(random.random(40) < 0.5, 50)
    values = agreement[:, None]
    parted, together = (
        select(Labelled(("agreement",), values, labels, groups), "isotonic").brier["isotonic"]
        for groups in (np.arange(2000), np.repeat(np.arange(40), 50))
    )
    assert together > parted + 0.02


def test_values_must_be_finite() -> None:
    """A missing signal is left out by the caller, and not filled in here."""
    with pytest.raises(ValueError, match="finite"):
        Labelled(("agreement",), np.array([[np.nan]]), np.array([True]), np.array([0]))
