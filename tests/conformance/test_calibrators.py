"""What every calibrator promises, asked of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.calibration.base import Calibrator
from demur.calibration.fused import fit_fused
from demur.calibration.isotonic import fit_isotonic
from demur.calibration.platt import fit_platt
from demur.types import SignalName

FITS: dict[str, Callable[..., Calibrator]] = {"platt": fit_platt, "isotonic": fit_isotonic, "fused": fit_fused}
AGREEMENT: tuple[SignalName, ...] = ("agreement",)

shares = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def fitted(method: str) -> Calibrator:
    random = np.random.default_rng(0)
    values = random.uniform(0, 1, (500, 1))
    return FITS[method](values, random.random(500) < values[:, 0], AGREEMENT)


@pytest.fixture(params=FITS, scope="module")
def calibrator(request: pytest.FixtureRequest) -> Calibrator:
    return fitted(request.param)


def test_it_says_what_it_is(calibrator: Calibrator) -> None:
    """Its method, and the signals that it reads."""
    assert calibrator.method in FITS
    assert calibrator.signals == AGREEMENT


@given(drawn=shares)
def test_probabilities_lie_strictly_between_0_and_1(calibrator: Calibrator, drawn: list[float]) -> None:
    """At 0 and at 1 as well: labels show no certainty."""
    p = calibrator.p_correct(np.array([[s] for s in drawn]))
    assert p.shape == (len(drawn),)
    assert np.all((p > 0) & (p < 1))


@given(drawn=shares)
def test_more_agreement_never_lowers_it(calibrator: Calibrator, drawn: list[float]) -> None:
    """Where agreement is all that is read."""
    p = calibrator.p_correct(np.array([[s] for s in sorted(drawn)]))
    assert np.all(np.diff(p) >= 0)


@given(drawn=shares)
def test_a_row_does_not_depend_on_the_others(calibrator: Calibrator, drawn: list[float]) -> None:
    """To the last bit: thresholds are compared with it."""
    together = calibrator.p_correct(np.array([[s] for s in drawn]))
    alone = [float(calibrator.p_correct(np.array([[s]]))[0]) for s in drawn]
    assert together.tolist() == pytest.approx(alone, abs=1e-15)


@pytest.mark.parametrize("shape", [(3, 2), (3, 0), (3,)])
def test_the_wrong_number_of_columns_is_refused(calibrator: Calibrator, shape: tuple[int, ...]) -> None:
    """Rather than read as another signal."""
    with pytest.raises(ValueError, match="column"):
        calibrator.p_correct(np.full(shape, 0.5))
