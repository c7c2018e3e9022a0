"""From judged answers to a profile: maps, certificates, and how good they are on answers they have not seen."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from demur import __version__
from demur.calibration.base import Method
from demur.calibration.costs import cost_threshold, cost_threshold_before_retrieval
from demur.calibration.outcomes import IntArray, Outcomes, TwoStageOutcomes, split_by_group
from demur.calibration.profile import Certificate, CurvePoint, Figures, Profile, ProfileKey, Provenance, Stage
from demur.calibration.risk_control import (
    TUNING_SHARE,
    Certified,
    Infeasible,
    certify_closed_book,
    certify_two_stage,
)
from demur.calibration.selection import MIN_LABELS, AnyCalibrator, select
from demur.calibration.trials import ranked
from demur.errors import NotCalibratable
from demur.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    perfect_model_error,
    smooth_calibration_error,
)
from demur.evaluation.discrimination import auroc
from demur.evaluation.judged import JudgedAnswer, correctness, labelled
from demur.types import Scope

_MIN_FOR_FIGURES = 30
_N_CURVE = 50
_ROOM = 1.2  # refusals are spread by chance over both parts, and count for nothing in the first


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for. `delta` is the whole doubt allowed: two scopes share it. `retrieval_id`: both stages.

    `wrong_cost` of a wrong answer, where abstaining costs 1: thresholds of least expected cost, and no certificate.
    """

    max_risk: float
    delta: float
    population: str
    grader: str
    data_sha256: str
    method: Method | Literal["auto"] = "auto"
    retrieval_id: str | None = None
    retrieval_cost: float = 0.0
    wants_certificate: bool = True
    wrong_cost: float | None = None
    seed: int = 0

    @property
    def certifies(self) -> bool:
        return self.wants_certificate and self.wrong_cost is None


@dataclass(frozen=True, slots=True)
class Fitted:
    """`refused` holds the scopes for which no rule could be certified.

    `tighter`: what half the risk would take, closed book; advice, and no promise.
    """

    profile: Profile
    refused: dict[Scope, Infeasible]
    tighter: Certified | Infeasible | None


@dataclass(frozen=True, slots=True)
class _Questions:
    """The answers of each stage, row by row to the same questions, and the rows for either purpose."""

    stages: tuple[Sequence[JudgedAnswer], ...]
    tuning: IntArray
    held_out: IntArray


def fit_profile(answers: Sequence[JudgedAnswer], target: Target) -> Fitted:
    """Fit on a quarter of the questions (100 at least), test on the rest.

    Answers that a degraded signal would leave without a promise are left out, as are questions that lack a stage.
    Raises NotCalibratable: too few labels, several ways of asking in one file, or nothing to tell apart.
    """
    questions = _questions(answers, target)
    first = questions.stages[0]
    calibrators = [_map(stage, questions.tuning, target.method) for stage in questions.stages]
    outcomes = [_outcomes(stage, kept) for stage, kept in zip(questions.stages, calibrators, strict=True)]
    found = _certify(outcomes, questions, target) if target.certifies else {}
    certificates = tuple(_certificate(s, c, target) for s, c in found.items() if isinstance(c, Certified))
    stages = [
        Stage(calibrator, _figures(stage, seen, questions.held_out), stage[0].prompt_template)
        for calibrator, stage, seen in zip(calibrators, questions.stages, outcomes, strict=True)
    ]
    first_min, later_min = _uncertified(outcomes, target, has_certificate=bool(certificates))
    now = datetime.now(UTC).replace(microsecond=0)
    profile = Profile(
        id=f"cal_{now:%Y-%m-%d}_{secrets.token_hex(3)}",
        key=_common_key(first),
        closed_book=stages[0],
        with_context=stages[1] if len(stages) > 1 else None,
        certificates=certificates,
        uncertified_answer_min=first_min,
        uncertified_answer_min_after_retrieval=later_min,
        provenance=Provenance(
            population=target.population,
            grader=target.grader,
            n_labels=len(first),
            n_dropped=len({answer.id for answer in answers}) - len(first),
            data_sha256=target.data_sha256,
            seed=target.seed,
            fitted_at=now,
            demur_version=__version__,
        ),
    )
    refused: dict[Scope, Infeasible] = {s: one for s, one in found.items() if isinstance(one, Infeasible)}
    halved = replace(target, max_risk=target.max_risk / 2)
    return Fitted(profile, refused, _certify(outcomes, questions, halved)["closed_book"] if found else None)


def _questions(answers: Sequence[JudgedAnswer], target: Target) -> _Questions:
    names = ("closed_book", "with_context") if target.retrieval_id else ("closed_book",)
    by_stage = [{a.id: a for a in answers if a.stage == name and not a.is_voided} for name in names]
    whole = [key for key in by_stage[0] if all(key in stage for stage in by_stage)]
    if len(whole) < MIN_LABELS["platt"]:
        need = MIN_LABELS["platt"]
        raise NotCalibratable(
            f"{len(whole)} questions have an answer {' and '.join(names)} that is not degraded; {need} are needed"
        )
    stages = tuple([stage[key] for key in whole] for stage in by_stage)
    n_answers = min(sum(not answer.is_refusal for answer in stage) for stage in stages)
    share = max(TUNING_SHARE, min(1.0, _ROOM * MIN_LABELS["platt"] / max(1, n_answers)))
    tuning, held_out = split_by_group(np.arange(len(whole)), share, target.seed)
    return _Questions(stages, tuning, held_out)


def _common_key(answers: Sequence[JudgedAnswer]) -> ProfileKey:
    keys = {answer.key for answer in answers}
    if len(keys) > 1:
        one, other, *_ = keys
        differing = [name for name in ProfileKey.__slots__ if getattr(one, name) != getattr(other, name)]
        raise NotCalibratable(
            f"the answers were asked for in {len(keys)} different ways ({', '.join(differing)}); a profile is for one"
        )
    return keys.pop()


def _map(stage: Sequence[JudgedAnswer], tuning: IntArray, method: Method | Literal["auto"]) -> AnyCalibrator:
    """Refusals are no answers: what they agree on says nothing about being right."""
    return select(labelled([stage[i] for i in tuning if not stage[i].is_refusal]), method).calibrator


def _outcomes(stage: Sequence[JudgedAnswer], calibrator: AnyCalibrator) -> Outcomes:
    """Of all answers; one that lacks a signal that the map reads is never given a promise, and never answered here."""
    confidence = np.full(len(stage), -math.inf)
    able = [i for i, a in enumerate(stage) if not a.is_refusal and all(n in a.signals for n in calibrator.signals)]
    if able:
        confidence[able] = calibrator.p_correct(
            np.array([[stage[i].signals[name] for name in calibrator.signals] for i in able], dtype=np.float64)
        )
    return Outcomes(confidence, correctness(stage))


def _certify(
    outcomes: Sequence[Outcomes], questions: _Questions, target: Target
) -> dict[Scope, Certified | Infeasible]:
    """Each scope has its own callers; where there are two, each has half of the doubt."""
    alpha, delta = target.max_risk, target.delta / len(outcomes)
    tuning, held_out = questions.tuning, questions.held_out
    found: dict[Scope, Certified | Infeasible] = {
        "closed_book": certify_closed_book(
            outcomes[0].rows(tuning), outcomes[0].rows(held_out), alpha=alpha, delta=delta
        )
    }
    if len(outcomes) > 1:
        both = TwoStageOutcomes(outcomes[0], outcomes[1])
        found["two_stage"] = certify_two_stage(
            both.rows(tuning), both.rows(held_out), alpha=alpha, delta=delta, retrieval_cost=target.retrieval_cost
        )
    return found


def _uncertified(outcomes: Sequence[Outcomes], target: Target, *, has_certificate: bool) -> tuple[float, float | None]:
    """The thresholds where no certificate applies; None: the first holds after retrieval too."""
    if target.wrong_cost is None:
        return (1.0 if target.wants_certificate and not has_certificate else 1.0 - target.max_risk), None
    last = cost_threshold(wrong=target.wrong_cost, instead=1.0)
    if len(outcomes) == 1:
        return last, None
    both, cost = TwoStageOutcomes(outcomes[0], outcomes[1]), target.retrieval_cost
    return cost_threshold_before_retrieval(both, wrong=target.wrong_cost, abstain=1.0, retrieve=cost), last


def _certificate(scope: Scope, certified: Certified, target: Target) -> Certificate:
    is_two_stage = scope == "two_stage"
    return Certificate(
        scope=scope,
        answer_min=certified.rule.answer_min,
        answer_min_after_retrieval=certified.rule.answer_min_after_retrieval if is_two_stage else None,
        retrieval_id=target.retrieval_id if is_two_stage else None,
        retrieval_rate=certified.trial.retrieval_rate,
        alpha=certified.alpha,
        delta=certified.delta,
        n_calibration=certified.trial.n,
        n_accepted=certified.trial.n_accepted,
        errors=certified.trial.errors,
    )


def _figures(stage: Sequence[JudgedAnswer], outcomes: Outcomes, held_out: IntArray) -> Figures:
    """On held-out answers that are no refusals."""
    rows = np.array([i for i in held_out if np.isfinite(outcomes.confidence[i])], dtype=np.int64)
    if len(rows) < _MIN_FOR_FIGURES:
        return Figures(len(rows), None, None, None, None, None, None)
    p, y = outcomes.confidence[rows], outcomes.is_correct[rows]
    agreement = np.array([stage[i].scores["agreement"] for i in rows])
    return Figures(
        n=len(rows),
        accuracy=float(y.mean()),
        auroc=auroc(p, y),
        brier=brier_score(p, y),
        brier_uncalibrated=brier_score(agreement, y),
        smooth_ece=smooth_calibration_error(p, y),
        smooth_ece_perfect=perfect_model_error(p),
        smooth_ece_uncalibrated=smooth_calibration_error(agreement, y),
        ece=expected_calibration_error(p, y),
        ece_uncalibrated=expected_calibration_error(agreement, y),
        curve=_curve(outcomes.rows(held_out)),
    )


def _curve(outcomes: Outcomes) -> tuple[CurvePoint, ...]:
    """At the levels of confidence that occur, thinned evenly over them where they are many."""
    order = ranked(outcomes)
    kept = np.unique(np.linspace(0, len(order.levels) - 1, min(_N_CURVE, len(order.levels))).round().astype(int))
    return tuple(
        CurvePoint(
            confidence=float(order.levels[i]),
            coverage=float(order.n_accepted[i] / outcomes.n),
            risk=float(order.errors[i] / order.n_accepted[i]),
        )
        for i in kept
    )


def refusal(fitted: Fitted, target: Target) -> str:
    """Why there is no promise, and what it would take."""
    wanted = f"an error rate of at most {target.max_risk:g} with confidence {1 - target.delta:g}"
    reasons = [f"{scope.replace('_', ' ')}: {needs(one)}" for scope, one in fitted.refused.items()]
    return f"{wanted} cannot be promised on these labels ({'; '.join(reasons)})"


def needs(one: Infeasible) -> str:
    if one.n_labels_needed is None:
        return f"no threshold comes out below {one.alpha:g} on {one.n_labels} labels, and more may not help"
    return f"about {one.n_labels_needed} labels are needed, and there are {one.n_labels}"
