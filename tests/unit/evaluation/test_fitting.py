"""From judged answers to a profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demur.calibration.profile import Profile
from demur.calibration.risk_control import Infeasible
from demur.errors import NotCalibratable
from demur.evaluation.fitting import Target, fit_profile
from demur.evaluation.judged import JudgedAnswer
from demur.types import Policy
from tests.unit.evaluation.judged_answers import refused, simulated

TARGET = Target(max_risk=0.1, delta=0.1, population="simulated", grader="exact", data_sha256="0" * 64)


def error_rate(profile: Profile, answers: list[JudgedAnswer]) -> tuple[float, float]:
    """Coverage, and the error rate among what the first certificate answers, on fresh answers."""
    p = [profile.closed_book.p_correct(answer.signals) or 0.0 for answer in answers]
    answered = [a for a, confidence in zip(answers, p, strict=True) if confidence >= profile.certificates[0].answer_min]
    return len(answered) / len(answers), 1 - float(np.mean([a.is_correct for a in answered]))


def test_a_profile_holds_what_it_promises_on_fresh_questions() -> None:
    """1,200 labels; 20,000 other questions of the same kind."""
    fitted = fit_profile(simulated(1200), TARGET)
    (certificate,) = fitted.profile.certificates
    assert (certificate.scope, certificate.alpha, certificate.delta) == ("closed_book", 0.1, 0.1)
    assert certificate.n_calibration == 900
    coverage, risk = error_rate(fitted.profile, simulated(20_000, seed=7))
    assert risk <= 0.1
    assert coverage == pytest.approx(certificate.n_accepted / certificate.n_calibration, abs=0.05)
    assert fitted.profile.uncertified_answer_min == 0.9  # for callers that the certificate does not cover


def test_held_out_figures_are_of_answers_the_map_has_not_seen() -> None:
    """900 of 1,200, better than agreement as it stands, and about as good as a perfect map."""
    figures = fit_profile(simulated(1200), TARGET).profile.closed_book.figures
    assert figures.n == 900
    assert figures.brier is not None
    assert figures.brier_uncalibrated is not None
    assert figures.smooth_ece is not None
    assert figures.brier < figures.brier_uncalibrated
    assert figures.smooth_ece < 0.06


def test_two_scopes_share_the_doubt() -> None:
    """delta / 2 each; the second names the retriever and its threshold."""
    answers = [*simulated(1200), *simulated(1200, stage="with_context", skill=4.0, seed=5)]
    fitted = fit_profile(answers, replace(TARGET, retrieval_id="wiki-1"))
    closed_book, two_stage = fitted.profile.certificates
    assert (closed_book.delta, two_stage.delta) == (0.05, 0.05)
    assert (two_stage.retrieval_id, two_stage.scope) == ("wiki-1", "two_stage")
    assert two_stage.answer_min_after_retrieval is not None
    assert fitted.profile.with_context is not None
    assert fitted.profile.with_context.prompt_template == "template"


def test_an_unreachable_target_has_no_certificate() -> None:
    """200 labels, an error rate of 1 %: the refusal says about how many it would take."""
    fitted = fit_profile(simulated(200), replace(TARGET, max_risk=0.01))
    assert fitted.profile.certificates == ()
    assert isinstance(fitted.refused["closed_book"], Infeasible)
    assert fitted.profile.uncertified_answer_min == 1.0  # nothing is answered


def test_without_a_certificate_the_threshold_promises_nothing() -> None:
    """1 - max_risk on a calibrated probability, and no certificate."""
    fitted = fit_profile(simulated(300), replace(TARGET, wants_certificate=False))
    assert (fitted.profile.certificates, fitted.refused, fitted.tighter) == ((), {}, None)
    assert fitted.profile.uncertified_answer_min == 0.9


def test_costs_set_thresholds_and_promise_nothing() -> None:
    """A wrong answer costs ten abstentions: answer from .9. Where things can be looked up for nothing, only a surer
    answer is given at once."""
    costly = replace(TARGET, wrong_cost=10.0)
    alone = fit_profile(simulated(300), costly).profile
    assert alone.certificates == ()
    assert alone.policy(None) == Policy(answer_min=0.9, answer_min_after_retrieval=0.9)
    answers = [*simulated(300), *simulated(300, stage="with_context", skill=4.0, seed=5)]
    both = fit_profile(answers, replace(costly, retrieval_id="wiki-1")).profile.policy(None)
    assert (both.answer_min or 0) > both.answer_min_after_retrieval == 0.9
    dear = fit_profile(answers, replace(costly, retrieval_id="wiki-1", retrieval_cost=1.0)).profile.policy(None)
    assert (dear.answer_min or 0) < (both.answer_min or 0)


def test_refusals_are_counted_and_never_answered() -> None:
    """Unanimous refusals would drag the map down at full agreement; they take part in coverage alone."""
    plain = simulated(1200)
    with_refusals = [refused(a) if i % 3 == 0 else a for i, a in enumerate(plain)]
    fitted = fit_profile(with_refusals, TARGET)
    (certificate,) = fitted.profile.certificates
    assert certificate.n_calibration == 900
    assert certificate.n_accepted <= 600
    sure = {"agreement": 10.5 / 11, "semantic_entropy": 0.0, "greedy_agrees": 1.0, "sample_coverage": 1.0}
    assert (fitted.profile.closed_book.p_correct(sure) or 0) > 0.9  # type: ignore[arg-type]


def test_degraded_answers_are_left_out() -> None:
    """As the service gives them no promise, no promise is tested on them."""
    answers = [replace(a, is_voided=i % 4 == 0) for i, a in enumerate(simulated(800))]
    profile = fit_profile(answers, TARGET).profile
    assert (profile.provenance.n_labels, profile.provenance.n_dropped) == (600, 200)


def test_answers_asked_for_in_two_ways_are_refused() -> None:
    """The message names what differs."""
    answers = simulated(400)
    other = replace(answers[0], key=replace(answers[0].key, n_samples=5))
    with pytest.raises(NotCalibratable, match="2 different ways \\(n_samples\\)"):
        fit_profile([other, *answers[1:]], TARGET)


def test_too_few_labels_are_refused() -> None:
    """99 of the 100 that a map needs."""
    with pytest.raises(NotCalibratable, match="99 questions"):
        fit_profile(simulated(99), TARGET)


def test_the_same_seed_gives_the_same_profile() -> None:
    """But for its id and date."""
    one, other = (fit_profile(simulated(500), TARGET).profile for _ in range(2))
    assert one.closed_book == other.closed_book
    assert one.certificates == other.certificates
