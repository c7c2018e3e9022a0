"""From judged answers to a profile: maps, certificates, and how good they are on answers they have not seen."""

from __future__ import annotations

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
from demur.calibration.profile import Certificate, Figures, Profile, ProfileKey, Provenance, Stage
from demur.calibration.risk_control import (
    TUNING_SHARE,
    Certified,
    Infeasible,
    certify_closed_book,
    certify_two_stage,
)
from demur.calibration.selection import MIN_LABELS, AnyCalibrator, select
from demur.errors import NotCalibratable
from demur.evaluation.cascading import Cascade, fit_cascade
from demur.evaluation.figures import figures
from demur.evaluation.judged import JudgedAnswer, labelled, outcomes_of
from demur.types import Scope

_ROOM = 1.2  # refusals are spread by chance over both parts, and count for nothing in the first


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for. `delta` is the whole doubt allowed: scopes share it. `retrieval_id`: both stages; `cascade`:
    answers without samples, too.

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
    cascade: bool = False

    @property
    def certifies(self) -> bool:
        return self.wants_certificate and self.wrong_cost is None

    @property
    def delta_each(self) -> float:
        """Of each scope."""
        return self.delta / (1 + (self.retrieval_id is not None) + self.cascade)


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
    outcomes = [outcomes_of(stage, kept) for stage, kept in zip(questions.stages, calibrators, strict=True)]
    found = _certify(outcomes, questions, target) if target.certifies else {}
    cascade = _cascade(answers, questions, calibrators[0], target) if target.certifies and target.cascade else None
    if cascade is not None:
        found["cascade"] = cascade.found
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
        greedy=cascade.stage if cascade and isinstance(cascade.found, Certified) else None,
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


def _certify(
    outcomes: Sequence[Outcomes], questions: _Questions, target: Target
) -> dict[Scope, Certified | Infeasible]:
    """Each scope has its own callers, and an equal part of the doubt."""
    alpha, delta = target.max_risk, target.delta_each
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


def _cascade(
    answers: Sequence[JudgedAnswer], questions: _Questions, by_samples: AnyCalibrator, target: Target
) -> Cascade:
    """On all answers from memory; those that took no part in the maps are parted in the same proportion."""
    every = list({answer.id: answer for answer in answers if answer.stage == "closed_book"}.values())
    whole = questions.stages[0]
    tuning, known = {whole[i].id for i in questions.tuning}, {answer.id for answer in whole}
    rest = np.array([i for i, answer in enumerate(every) if answer.id not in known], dtype=np.int64)
    more, _ = split_by_group(rest, len(questions.tuning) / len(whole), target.seed)
    is_tuning = np.array([answer.id in tuning for answer in every])
    is_tuning[rest[more]] = True
    return fit_cascade(every, is_tuning, by_samples, alpha=target.max_risk, delta=target.delta_each)


def _figures(stage: Sequence[JudgedAnswer], outcomes: Outcomes, held_out: IntArray) -> Figures:
    return figures(outcomes.rows(held_out), np.array([stage[i].scores["agreement"] for i in held_out]))


def _certificate(scope: Scope, certified: Certified, target: Target) -> Certificate:
    is_two_stage, is_cascade = scope == "two_stage", scope == "cascade"
    trial, first, second = certified.trial, certified.rule.answer_min, certified.rule.answer_min_after_retrieval
    return Certificate(
        scope=scope,
        answer_min=second if is_cascade and second is not None else first,
        answer_min_after_retrieval=second if is_two_stage else None,
        retrieval_id=target.retrieval_id if is_two_stage else None,
        retrieval_rate=trial.retrieval_rate if is_two_stage else 0.0,
        skip_min=first if is_cascade else None,
        skip_rate=1.0 - trial.retrieval_rate if is_cascade else 0.0,
        alpha=certified.alpha,
        delta=certified.delta,
        n_calibration=trial.n,
        n_accepted=trial.n_accepted,
        errors=trial.errors,
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
