"""Answering without samples: whose labels count, and what is promised of the policy as a whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from demur.calibration.outcomes import split_by_group
from demur.calibration.platt import PlattCalibrator
from demur.calibration.profile import Profile
from demur.calibration.risk_control import Certified
from demur.errors import NotCalibratable
from demur.evaluation.cascading import Cascade, fit_cascade
from demur.evaluation.fitting import Target, fit_profile
from demur.evaluation.judged import Grade, JudgedAnswer
from demur.types import Retrieval
from tests.unit.evaluation.judged_answers import refused, simulated, told_tokens, with_tokens

TARGET = Target(max_risk=0.1, delta=0.1, population="simulated", grader="exact", data_sha256="0" * 64, cascade=True)
AS_IT_IS = PlattCalibrator(1.0, 0.0)


def replayed(profile: Profile, answers: list[JudgedAnswer]) -> tuple[int, int, int]:
    """Answered, of these wrongly, and answered without samples, by the policy as it is served."""
    certificate = profile.certificate(Retrieval(), has_context=False, cascades=True)
    assert certificate is not None
    assert certificate.skip_min is not None
    assert profile.greedy is not None
    n_answered = n_wrong = n_skipped = 0
    for answer in answers:
        alone, by_samples = profile.greedy.p_correct(answer.signals), profile.closed_book.p_correct(answer.signals)
        assert alone is not None
        assert by_samples is not None
        greedy = answer.of_greedy or Grade(is_correct=False, is_refusal=False)
        skips = alone >= certificate.skip_min and not greedy.is_refusal
        answers_later = by_samples >= certificate.answer_min and not (answer.is_refusal or answer.is_voided)
        if skips or answers_later:
            n_answered += 1
            n_skipped += skips
            n_wrong += not (greedy.is_correct if skips else answer.is_correct)
    return n_answered, n_wrong, n_skipped


def test_the_policy_is_certified_as_a_whole() -> None:
    """What the certificate counts is what the policy, replayed, does to the answers that nothing was fitted on."""
    answers = with_tokens(simulated(1200))
    fitted = fit_profile(answers, TARGET)
    closed_book, cascade = fitted.profile.certificates
    assert (closed_book.scope, cascade.scope) == ("closed_book", "cascade")
    assert (closed_book.delta, cascade.delta) == (0.05, 0.05)
    assert fitted.profile.greedy is not None
    assert fitted.profile.greedy.calibrator.signals == ("min_logprob",)
    assert cascade.n_calibration == 900
    n_answered, n_wrong, n_skipped = replayed(fitted.profile, _held_out(answers))
    assert (cascade.n_accepted, cascade.errors) == (n_answered, n_wrong)
    assert cascade.skip_rate == pytest.approx(n_skipped / 900)
    assert n_skipped > 0


def test_degraded_answers_are_parted_like_the_others() -> None:
    """400 that no map is fitted on: three quarters of them are among those that prove the policy."""
    answers = with_tokens(simulated(1600))
    answers[:400] = [replace(answer, is_voided=True) for answer in answers[:400]]
    closed_book, cascade = fit_profile(answers, TARGET).profile.certificates
    assert (closed_book.n_calibration, cascade.n_calibration) == (900, 1200)


def test_it_keeps_its_promise_on_fresh_questions() -> None:
    """20,000 others of the same kind, and about as many skipped."""
    profile = fit_profile(with_tokens(simulated(1200)), TARGET).profile
    fresh = with_tokens(simulated(20_000, seed=7), seed=7)
    n_answered, n_wrong, n_skipped = replayed(profile, fresh)
    assert n_wrong / n_answered <= 0.1
    assert n_skipped / len(fresh) == pytest.approx(profile.certificates[1].skip_rate, abs=0.05)


def test_without_the_wish_nothing_changes() -> None:
    """No map, no certificate, and the whole doubt for the others."""
    profile = fit_profile(with_tokens(simulated(1200)), replace(TARGET, cascade=False)).profile
    assert profile.greedy is None
    assert [(c.scope, c.delta) for c in profile.certificates] == [("closed_book", 0.1)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Grade(True, False)),
        ({"agrees": 0.0}, None),
        ({"agrees": 0.0, "greedy": Grade(False, True)}, Grade(False, True)),
        ({"agrees": None}, None),
        ({"agrees": 0.0, "strategy": "greedy"}, Grade(True, False)),
        ({"strategy": "mode"}, None),
        ({"strategy": "mode", "greedy": Grade(True, False)}, Grade(True, False)),
    ],
)
def test_a_label_is_about_the_answer_it_was_given_to(change: dict[str, object], expected: Grade | None) -> None:
    """It is the T=0 answer's where that one was given; elsewhere the T=0 answer needs a grade of its own."""
    answer = replace(next(a for a in simulated(100) if a.is_correct), greedy=change.get("greedy"))  # type: ignore[arg-type]
    signals = {**answer.signals, "greedy_agrees": change.get("agrees", 1.0)}
    answer = replace(
        answer,
        key=replace(answer.key, answer_strategy=change.get("strategy", "auto")),  # type: ignore[arg-type]
        signals={name: value for name, value in signals.items() if value is not None},  # type: ignore[misc]
    )
    assert answer.of_greedy == expected


def test_a_t0_answer_that_nobody_judged_counts_as_wrong() -> None:
    """All others are right: those without a grade are errors where they are skipped."""
    judged = _certain(400)
    assert _counts([*judged, *_doubtful(400)]) == (400, 0)
    unjudged = [replace(a, signals={**a.signals, "greedy_agrees": 0.0}) for a in judged[:20]]
    mended = [replace(a, greedy=Grade(True, False)) for a in unjudged]
    assert _counts([*unjudged, *judged[20:], *_doubtful(400)]) == (400, 20)
    assert _counts([*mended, *judged[20:], *_doubtful(400)]) == (400, 0)


def test_refusals_are_never_skipped() -> None:
    """However sure their tokens are."""
    refusals = [told_tokens(refused(a), -0.01) for a in simulated(50)]
    assert _counts([*_certain(400), *_doubtful(400), *refusals]) == (400, 0)


def test_what_would_have_been_degraded_is_skipped_all_the_same() -> None:
    """Without samples nobody finds out: voided answers count where they are skipped, and nowhere else."""
    voided = [replace(a, is_voided=True, is_correct=False) for a in _certain(20)]
    assert _counts([*_certain(400), *_doubtful(400), *voided]) == (420, 20)


def test_answers_without_token_probabilities_bear_no_cascade() -> None:
    with pytest.raises(NotCalibratable, match="token probabilities"):
        fit_profile(simulated(1200), TARGET)


def test_who_never_wants_the_t0_answer_gets_no_cascade() -> None:
    answers = [replace(a, key=replace(a.key, answer_strategy="mode")) for a in with_tokens(simulated(1200))]
    with pytest.raises(NotCalibratable, match="never want them"):
        fit_profile(answers, TARGET)


def test_a_score_that_runs_backwards_bears_no_cascade() -> None:
    """Where the surest answers are wrong, skipping would pick them."""
    backwards = [told_tokens(a, -2.0 if a.is_correct else -0.1) for a in simulated(1200)]
    with pytest.raises(NotCalibratable, match="against correctness"):
        fit_profile(backwards, TARGET)


def _certain(n: int) -> list[JudgedAnswer]:
    """Right by a sure T=0 answer, and not sure by samples."""
    one = told_tokens(simulated(1)[0], -0.05)
    signals = {**one.signals, "agreement": 0.2}
    return [replace(one, id=f"sure {i}", is_correct=True, signals=signals) for i in range(n)]


def _doubtful(n: int) -> list[JudgedAnswer]:
    """Wrong, and sure by nothing."""
    one = told_tokens(simulated(1)[0], -3.0)
    signals = {**one.signals, "agreement": 0.2}
    return [replace(one, id=f"doubt {i}", is_correct=False, signals=signals) for i in range(n)]


def _fit(answers: list[JudgedAnswer]) -> Cascade:
    """Ranked and tested on all of them: each comes twice."""
    is_tuning = np.arange(2 * len(answers)) < len(answers)
    return fit_cascade([*answers, *answers], is_tuning, AS_IT_IS, alpha=0.1, delta=0.05)


def _counts(answers: list[JudgedAnswer]) -> tuple[int, int]:
    """Answered, and of these wrongly."""
    found = _fit(answers).found
    assert isinstance(found, Certified)
    return found.trial.n_accepted, found.trial.errors


def _held_out(answers: list[JudgedAnswer]) -> list[JudgedAnswer]:
    _, rows = split_by_group(np.arange(len(answers)), 0.25, TARGET.seed)
    return [answers[i] for i in rows]
