"""The cascade: where the T=0 answer's least probable token is probable enough, it is answered without samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from demur.calibration.base import BoolArray
from demur.calibration.fused import FusedCalibrator, fit_fused
from demur.calibration.outcomes import TwoStageOutcomes
from demur.calibration.profile import Stage
from demur.calibration.risk_control import Certified, Infeasible, certify_cascade
from demur.calibration.selection import MIN_LABELS, AnyCalibrator
from demur.errors import NotCalibratable
from demur.evaluation.figures import figures
from demur.evaluation.judged import Grade, JudgedAnswer, correctness, outcomes_of
from demur.types import SignalName

SIGNAL: SignalName = "min_logprob"
_UNJUDGED = Grade(is_correct=False, is_refusal=False)


@dataclass(frozen=True, slots=True)
class Cascade:
    """The map of the T=0 answer's tokens, and what can be promised of the policy as a whole."""

    stage: Stage
    found: Certified | Infeasible


def fit_cascade(
    answers: Sequence[JudgedAnswer], is_tuning: BoolArray, by_samples: AnyCalibrator, *, alpha: float, delta: float
) -> Cascade:
    """`is_tuning` marks the answers by which the map is fitted and rules are ranked; the others prove them.

    `by_samples` is the map of the answers whose samples are drawn. Voided answers belong here, too: where samples are
    skipped, nobody finds out that they would have been degraded. Raises NotCalibratable.
    """
    if any(answer.key.answer_strategy == "mode" for answer in answers):
        raise NotCalibratable("a cascade gives T=0 answers, and these are for callers who never want them (`mode`)")
    greedy = [_as_greedy(answer) for answer in answers]
    calibrator = _map([answer for answer, is_here in zip(greedy, is_tuning, strict=True) if is_here])
    alone = outcomes_of(greedy, calibrator)
    both = TwoStageOutcomes(alone, outcomes_of(answers, by_samples))
    least = np.array([math.exp(answer.signals.get(SIGNAL, -math.inf)) for answer in greedy])
    stage = Stage(calibrator, figures(alone.rows(~is_tuning), least[~is_tuning]))
    return Cascade(stage, certify_cascade(both.rows(is_tuning), both.rows(~is_tuning), alpha=alpha, delta=delta))


def _as_greedy(answer: JudgedAnswer) -> JudgedAnswer:
    """The same question, had the T=0 answer been given; one that nobody judged counts as wrong, so that no promise is
    made too easily."""
    grade = answer.of_greedy or _UNJUDGED
    return replace(answer, is_correct=grade.is_correct, is_refusal=grade.is_refusal, is_voided=False)


def _map(greedy: Sequence[JudgedAnswer]) -> FusedCalibrator:
    able = [answer for answer in greedy if SIGNAL in answer.signals and not answer.is_refusal]
    least = MIN_LABELS["platt"]  # as much freedom: a line over one signal
    if len(able) < least:
        raise NotCalibratable(
            f"a cascade is fitted on {least} T=0 answers with token probabilities of the model's own, and {len(able)} "
            "are here"
        )
    is_correct = correctness(able)
    if is_correct.all() or not is_correct.any():
        raise NotCalibratable(f"{len(able)} T=0 answers are all {'right' if is_correct.all() else 'wrong'}")
    found = fit_fused(np.array([[answer.signals[SIGNAL]] for answer in able]), is_correct, (SIGNAL,))
    if found.weights[0] <= 0:
        raise NotCalibratable("token probabilities run against correctness here: a cascade would skip the wrong ones")
    return found
