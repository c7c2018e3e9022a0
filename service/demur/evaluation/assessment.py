"""How good every score, and every probability, is on judged answers: the figures of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from demur.calibration.conformal import conformal_threshold
from demur.calibration.outcomes import IntArray, Outcomes, split_by_group
from demur.calibration.risk_control import Certified, Infeasible, certify_closed_book
from demur.calibration.selection import select
from demur.errors import DatasetUnreadable, NotCalibratable
from demur.evaluation.bootstrap import Interval, bootstrap_interval
from demur.evaluation.calibration_error import (
    bin_places,
    brier_score,
    calibration_gap,
    expected_calibration_error,
    negative_log_likelihood,
    perfect_model_error,
    smooth_calibration_error,
)
from demur.evaluation.discrimination import auroc, point_biserial
from demur.evaluation.judged import JudgedAnswer, ScoreName, Stage, correctness, labelled
from demur.evaluation.risk_coverage import RiskCoverage, aurac, aurac_reference, aurc, e_aurc, risk_coverage_curve

CALIBRATION_SHARE = 0.5
RISKS = (0.05, 0.1, 0.2)
DELTA = 0.1
N_BINS = 10
_N_DRAWS = 500
_PROBABILITIES: tuple[ScoreName, ...] = ("agreement", "majority_share", "token_probability", "stated_confidence")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """How a score ranks answers. `auroc` is None where all are right or all wrong; `n` answers have the score."""

    name: str
    n: int
    auroc: Interval | None
    aurc: float
    e_aurc: float
    aurac: float
    aurac_reference: float
    correlation: float | None
    curve: RiskCoverage


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with a probability in (low, high]: how sure they were, and how many were right."""

    low: float
    high: float
    n: int
    mean: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class ProbabilityFigures:
    """How right a probability is. `perfect`: smECE that a faultless model stays below in 95 of 100 such sets."""

    name: str
    n: int
    brier: Interval | None
    negative_log_likelihood: float
    smooth_ece: float
    perfect: float
    ece: float
    gap: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class RiskFigures:
    """What can be answered at an error rate of at most `risk`, with confidence 1 - DELTA; None where nothing can be.

    `joint_coverage`: what can be answered if at most that share of all questions, answered or not, may be answered
    wrongly, on average over the draw of the labels (conformal risk control): a weaker promise, from fewer labels.
    """

    risk: float
    coverage: float | None
    n_labels_needed: int | None
    joint_coverage: float | None


@dataclass(frozen=True, slots=True)
class CostFigures:
    """Means over answers."""

    n_completion_tokens: float
    n_pairs: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Assessment:
    """Figures of one stage, on the half of the questions that no map was fitted on.

    Refusals are no answers: they are counted, and take no part in the rest but coverage. `why_uncalibrated` says why
    there is no fitted map, and then the figures are of all questions.
    """

    stage: Stage
    n_questions: int
    n_tested: int
    n_voided: int
    accuracy: float
    refusal_rate: float
    scores: tuple[ScoreFigures, ...]
    probabilities: tuple[ProbabilityFigures, ...]
    certified: tuple[RiskFigures, ...]
    cost: CostFigures
    map_kept: str | None
    why_uncalibrated: str | None


def assess(answers: Sequence[JudgedAnswer], stage: Stage, *, seed: int = 0) -> Assessment:
    """Raises DatasetUnreadable where no question was answered at this stage."""
    all_of_stage = [answer for answer in answers if answer.stage == stage]
    mine = [answer for answer in all_of_stage if not answer.is_voided]
    if not any(not answer.is_refusal for answer in mine):
        raise DatasetUnreadable(f"none of {len(all_of_stage)} questions has an answer ({stage}) that can be judged")
    tuning, tested, confidence, kept, why = _calibrated(mine, seed)
    answered = [i for i in tested if not mine[i].is_refusal]
    shown = [mine[i] for i in answered]
    fitted = {} if confidence is None else {"calibrated": confidence[answered]}
    return Assessment(
        stage=stage,
        n_questions=len(all_of_stage),
        n_tested=len(tested),
        n_voided=len(all_of_stage) - len(mine),
        accuracy=float(correctness(shown).mean()) if shown else 0.0,
        refusal_rate=1 - len(answered) / max(1, len(tested)),
        scores=_scores(shown, fitted),
        probabilities=_probabilities(shown, fitted),
        certified=_certified(mine, tuning, tested, confidence),
        cost=_cost(mine),
        map_kept=kept,
        why_uncalibrated=why,
    )


def _calibrated(
    mine: Sequence[JudgedAnswer], seed: int
) -> tuple[IntArray, IntArray, FloatArray | None, str | None, str | None]:
    """Rows to fit on and to test, the fitted probability of each (-inf: refusal), and the map; or why there is none."""
    everything = np.arange(len(mine), dtype=np.int64)
    tuning, tested = split_by_group(everything, CALIBRATION_SHARE, seed)
    try:
        calibrator = select(labelled([mine[i] for i in tuning if not mine[i].is_refusal])).calibrator
    except NotCalibratable as error:
        return everything[:0], everything, None, None, str(error)
    lacking = [a for a in mine if any(name not in a.signals for name in calibrator.signals)]
    if lacking:
        return everything[:0], everything, None, None, f"{len(lacking)} answers lack a signal that the map reads"
    values = np.array([[a.signals[name] for name in calibrator.signals] for a in mine], dtype=np.float64)
    refused = np.array([a.is_refusal for a in mine])
    confidence = np.where(refused, -math.inf, calibrator.p_correct(values))
    return tuning, tested, confidence, calibrator.method, None


def _scores(shown: Sequence[JudgedAnswer], fitted: dict[str, FloatArray]) -> tuple[ScoreFigures, ...]:
    found = []
    labels = correctness(shown)
    for name, values in fitted.items():
        found.append(_score(name, values, labels))
    for score in get_args(ScoreName):
        having = [a for a in shown if score in a.scores]
        if having:
            found.append(_score(score, np.array([a.scores[score] for a in having]), correctness(having)))
    return tuple(found)


def _score(name: str, values: FloatArray, labels: NDArray[np.bool_]) -> ScoreFigures:
    return ScoreFigures(
        name=name,
        n=len(labels),
        auroc=_interval(lambda rows: auroc(values[rows], labels[rows]), len(labels)),
        aurc=aurc(values, labels),
        e_aurc=e_aurc(values, labels),
        aurac=aurac(values, labels),
        aurac_reference=aurac_reference(-values, labels),
        correlation=point_biserial(values, labels),
        curve=risk_coverage_curve(values, labels),
    )


def _probabilities(shown: Sequence[JudgedAnswer], fitted: dict[str, FloatArray]) -> tuple[ProbabilityFigures, ...]:
    """The fitted one, and what others take for a probability as it stands."""
    labels = correctness(shown)
    found = [_probability(name, values, labels) for name, values in fitted.items()]
    for score in _PROBABILITIES:
        having = [a for a in shown if score in a.scores]
        if having:
            values = np.array([a.scores[score] for a in having])
            found.append(_probability(score, values, correctness(having)))
    return tuple(found)


def _probability(name: str, p: FloatArray, labels: NDArray[np.bool_]) -> ProbabilityFigures:
    return ProbabilityFigures(
        name=name,
        n=len(labels),
        brier=_interval(lambda rows: brier_score(p[rows], labels[rows]), len(labels)),
        negative_log_likelihood=negative_log_likelihood(p, labels),
        smooth_ece=smooth_calibration_error(p, labels),
        perfect=perfect_model_error(p),
        ece=expected_calibration_error(p, labels, n_bins=N_BINS),
        gap=calibration_gap(p, labels),
        bins=_bins(p, labels),
    )


def _bins(p: FloatArray, labels: NDArray[np.bool_]) -> tuple[Bin, ...]:
    places = bin_places(p, N_BINS)
    return tuple(
        Bin(k / N_BINS, (k + 1) / N_BINS, int(here.sum()), float(p[here].mean()), float(labels[here].mean()))
        for k in range(N_BINS)
        if (here := places == k).any()
    )


def _certified(
    mine: Sequence[JudgedAnswer], tuning: IntArray, tested: IntArray, confidence: FloatArray | None
) -> tuple[RiskFigures, ...]:
    """Thresholds ranked on the half that the map was fitted on, and tested on the other."""
    if confidence is None:
        return ()
    outcomes = Outcomes(confidence, correctness(mine))
    ranking, testing = outcomes.rows(tuning), outcomes.rows(tested)
    return tuple(_risk(risk, ranking, testing) for risk in RISKS)


def _risk(risk: float, tuning: Outcomes, tested: Outcomes) -> RiskFigures:
    found = certify_closed_book(tuning, tested, alpha=risk, delta=DELTA)
    threshold = conformal_threshold(tested, alpha=risk)
    return RiskFigures(
        risk=risk,
        coverage=found.trial.coverage if isinstance(found, Certified) else None,
        n_labels_needed=found.n_labels_needed if isinstance(found, Infeasible) else None,
        joint_coverage=None if threshold is None else float(np.mean(tested.confidence >= threshold)),
    )


def _cost(mine: Sequence[JudgedAnswer]) -> CostFigures:
    columns = [(a.cost.n_completion_tokens, a.cost.n_pairs, a.cost.seconds) for a in mine]
    return CostFigures(*(float(mean) for mean in np.mean(columns, axis=0)))


def _interval(statistic: Callable[[IntArray], float | None], n: int) -> Interval | None:
    return bootstrap_interval(statistic, np.arange(n), n_draws=_N_DRAWS)
