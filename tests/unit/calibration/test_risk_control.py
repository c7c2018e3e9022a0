"""Certified thresholds: decisions by hand, the laws of certificates, and the promise itself in simulated worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.calibration.binomial import binomial_cdf
from demur.calibration.conformal import conformal_threshold
from demur.calibration.costs import cost_threshold, cost_threshold_before_retrieval
from demur.calibration.outcomes import Outcomes, TwoStageOutcomes, split_by_group
from demur.calibration.risk_control import (
    Certified,
    Infeasible,
    certify_cascade,
    certify_closed_book,
    certify_two_stage,
)
from demur.calibration.trials import NEVER, Rule, Trial, candidate_thresholds, closed_book_trials, two_stage_trial

CONFORMAL = Outcomes(
    np.array([0.95 - 0.05 * i for i in range(19)]),
    ~np.array([0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1], dtype=bool),
)

outcomes = st.lists(
    st.tuples(st.sampled_from([-math.inf, *[i / 12 for i in range(1, 12)]]), st.booleans()), min_size=1, max_size=80
).map(lambda rows: Outcomes(np.array([c for c, _ in rows]), np.array([y for _, y in rows], dtype=bool)))


def world(n: int, seed: int) -> Outcomes:
    """P(error | confidence c) = .9 (1 - c)^1.5: at alpha = .1 the oracle covers .41."""
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.001, 0.999, n)
    return Outcomes(confidence, random.random(n) >= 0.9 * (1 - confidence) ** 1.5)


def true_risk(threshold: float) -> float:
    """The error rate above it: the integral of .9 (1 - c)^1.5, divided by the coverage."""
    return 0.9 / 2.5 * (1 - threshold) ** 1.5


@pytest.mark.parametrize(
    ("alpha", "threshold"), [(0.05, 0.75), (0.10, 0.60), (0.20, 0.45), (0.25, 0.35), (0.04, None), (0.99, 0.05)]
)
def test_conformal_thresholds_equal_the_worked_example(alpha: float, threshold: float | None) -> None:
    """19 labels; below alpha = .05 nothing can be promised, and every answer must be withheld."""
    expected = None if threshold is None else pytest.approx(threshold)
    assert conformal_threshold(CONFORMAL, alpha=alpha) == expected


def test_errors_of_a_first_stage_use_up_the_allowance() -> None:
    """At alpha = .2 three errors are allowed; two already made leave one."""
    assert conformal_threshold(CONFORMAL, alpha=0.2, n_errors_before=2) == pytest.approx(0.60)
    assert conformal_threshold(CONFORMAL, alpha=0.2, n_errors_before=4) is None


def test_thresholds_from_costs() -> None:
    """A wrong answer costs 10 and silence 2: answer from .8."""
    assert cost_threshold(wrong=10, instead=2) == pytest.approx(0.8)
    assert cost_threshold(wrong=1, instead=5) == 0.0
    with pytest.raises(ValueError, match="must cost"):
        cost_threshold(wrong=0, instead=1)


def test_answering_at_once_competes_with_looking_it_up() -> None:
    """A wrong answer costs 10, silence 2. Answering at once costs 1, 2 and 8; looking it up .6, 1.4 and 2.5 at a price
    of .5, so that all are looked up; 1.1, 1.9 and 3 at a price of 1, so that the first is answered."""
    seen = np.array([True, True, True])
    both = TwoStageOutcomes(Outcomes(np.array([0.9, 0.8, 0.2]), seen), Outcomes(np.array([0.99, 0.91, 0.2]), seen))
    assert cost_threshold_before_retrieval(both, wrong=10, abstain=2, retrieve=0.5) == NEVER
    assert cost_threshold_before_retrieval(both, wrong=10, abstain=2, retrieve=1) == pytest.approx(0.85)


@given(outcomes, st.floats(0, 1), st.floats(1, 20))
def test_dearer_look_ups_never_raise_the_threshold_of_answering(first: Outcomes, price: float, wrong: float) -> None:
    """Nor are they made where they cost more than any answer."""
    both = TwoStageOutcomes(first, Outcomes(np.full(first.n, 0.5), first.is_correct))
    cheap = cost_threshold_before_retrieval(both, wrong=wrong, abstain=1, retrieve=price)
    dear = cost_threshold_before_retrieval(both, wrong=wrong, abstain=1, retrieve=price + 0.5)
    assert dear <= cheap
    never = cost_threshold_before_retrieval(both, wrong=wrong, abstain=1, retrieve=wrong)
    assert np.all(first.confidence[np.isfinite(first.confidence)] >= never)


def test_trials_count_what_a_rule_answers() -> None:
    """Five questions, one of them refused; the threshold itself is answered."""
    seen = Outcomes(np.array([0.9, 0.7, 0.5, 0.3, -math.inf]), np.array([True, False, True, False, False]))
    strict, at, everything = closed_book_trials(seen, [Rule(0.8), Rule(0.5), Rule(0.0)])
    assert (strict.n_accepted, strict.errors) == (1, 0)
    assert (at.n_accepted, at.errors, at.coverage) == (3, 1, 0.6)
    assert at.expected_errors == pytest.approx(0.1 + 0.3 + 0.5)
    assert (everything.n_accepted, everything.errors) == (4, 2)


def test_two_stages_are_counted_together() -> None:
    """One answered at once, one after retrieval and wrongly, one never."""
    seen = TwoStageOutcomes(
        Outcomes(np.array([0.9, 0.2, 0.1]), np.array([True, True, False])),
        Outcomes(np.array([0.1, 0.8, 0.3]), np.array([False, False, True])),
    )
    trial = two_stage_trial(seen, Rule(0.5, 0.5))
    assert (trial.n, trial.n_accepted, trial.errors) == (3, 2, 1)
    assert trial.retrieval_rate == pytest.approx(2 / 3)
    assert two_stage_trial(seen, Rule(0.5)).n_accepted == 1
    assert two_stage_trial(seen, Rule(NEVER, 0.0)).errors == 2


def test_cuts_fall_between_the_confidences() -> None:
    """Strict first; a number that comes out a hair different on another machine stays on its side."""
    assert candidate_thresholds(np.array([0.2, 0.8, 0.8, 0.4, -math.inf]), 10) == pytest.approx([0.6, 0.3, 0.1])
    assert candidate_thresholds(np.array([-math.inf]), 10) == []
    many = candidate_thresholds(np.linspace(0.001, 0.999, 500), 20)
    assert len(many) == 20
    assert many == sorted(many, reverse=True)


def test_a_clear_case_is_certified() -> None:
    """400 sure answers, all correct, and 400 unsure ones, half of them wrong: the first are answered, and only they."""
    confidence = np.repeat([0.95, 0.3], 400)
    is_correct = np.concatenate([np.ones(400, dtype=bool), np.arange(400) % 2 == 0])
    seen = Outcomes(confidence, is_correct)
    certified = certify_closed_book(seen, seen, alpha=0.1, delta=0.1)
    assert isinstance(certified, Certified)
    assert 0.3 < certified.rule.answer_min < 0.95
    assert (certified.trial.n_accepted, certified.trial.errors, certified.trial.n) == (400, 0, 800)


def test_a_stricter_rule_does_not_stand_in_the_way_of_a_wider_one() -> None:
    """The middle threshold promises most, the strict one more than the wide one. On held-out labels the strict one
    fails (6 of 40 wrong), and the others pass (6 of 140, 12 of 200): the widest is kept."""
    tuning = _stairs([(0.97, 40, 0), (0.96, 100, 4), (0.93, 60, 12)])
    held_out = _stairs([(0.97, 40, 6), (0.96, 100, 0), (0.93, 60, 6)])
    strict, middle, wide = closed_book_trials(tuning, [Rule(0.965), Rule(0.945), Rule(0.465)])
    assert middle.promise(0.1) > strict.promise(0.1) > wide.promise(0.1)
    certified = certify_closed_book(tuning, held_out, alpha=0.1, delta=0.1)
    assert isinstance(certified, Certified)
    assert (certified.trial.n_accepted, certified.trial.errors) == (200, 12)


def test_what_fails_ends_the_sequence() -> None:
    """The widest threshold would pass (12 of 300 wrong), but the one before it has failed (12 of 140)."""
    tuning = _stairs([(0.97, 40, 0), (0.96, 100, 4), (0.93, 160, 30)])
    held_out = _stairs([(0.97, 40, 0), (0.96, 100, 12), (0.93, 160, 0)])
    assert isinstance(certify_closed_book(tuning, held_out, alpha=0.1, delta=0.1), Infeasible)


def _stairs(steps: list[tuple[float, int, int]]) -> Outcomes:
    """(confidence, answers, errors) of each level."""
    confidence = np.concatenate([np.full(n, level) for level, n, _ in steps])
    return Outcomes(confidence, np.concatenate([np.arange(n) >= wrong for _, n, wrong in steps]))


def test_too_few_labels_are_refused_with_how_many_would_do() -> None:
    """20 labels cannot show an error rate below .1 with confidence .9, not even without an error: 22 answers could."""
    seen = Outcomes(np.full(20, 0.9), np.ones(20, dtype=bool))
    refused = certify_closed_book(seen, seen, alpha=0.1, delta=0.1)
    assert isinstance(refused, Infeasible)
    assert refused.trial is None
    assert refused.n_labels == 40
    assert refused.n_labels_needed is not None
    assert 40 < refused.n_labels_needed < 100


def test_labels_alone_do_not_help_where_nothing_is_good_enough() -> None:
    """A third wrong at every confidence."""
    seen = Outcomes(np.tile([0.9, 0.5], 300), np.tile([True, True, False], 200))
    refused = certify_closed_book(seen, seen, alpha=0.1, delta=0.1)
    assert isinstance(refused, Infeasible)
    assert refused.n_labels_needed is None
    nobody = Outcomes(np.full(50, -math.inf), np.zeros(50, dtype=bool))
    silent = certify_closed_book(nobody, nobody, alpha=0.1, delta=0.1)
    assert isinstance(silent, Infeasible)
    assert silent.n_labels_needed is None


def test_as_many_labels_as_were_asked_for_do() -> None:
    """What a refusal asks for is enough, in about half of the draws at least."""
    refused = certify_closed_book(world(30, 1), world(90, 2), alpha=0.1, delta=0.1)
    assert isinstance(refused, Infeasible)
    assert refused.n_labels_needed is not None
    n = refused.n_labels_needed
    found = [
        certify_closed_book(world(n // 4, s), world(3 * n // 4, 1000 + s), alpha=0.1, delta=0.1) for s in range(40)
    ]
    assert sum(isinstance(one, Certified) for one in found) >= 16


def test_retrieval_is_used_where_it_helps() -> None:
    """Unsure answers become correct once looked up: both stages are answered, and nearly everything is covered."""
    first = Outcomes(np.tile([0.95, 0.2], 400), np.tile([True, False], 400))
    after = Outcomes(np.full(800, 0.9), np.ones(800, dtype=bool))
    seen = TwoStageOutcomes(first, after)
    certified = certify_two_stage(seen, seen, alpha=0.1, delta=0.05)
    assert isinstance(certified, Certified)
    assert certified.trial.coverage == 1.0
    cheap = certify_two_stage(seen, seen, alpha=0.1, delta=0.05, retrieval_cost=0.5)
    assert isinstance(cheap, Certified)
    assert cheap.trial.retrieval_rate == 0.5


def test_a_cascade_saves_samples_where_it_costs_nothing() -> None:
    """1,000 questions. 300 have a sure T=0 answer, 10 of these wrong; samples would catch half of those, and are sure
    of 200 others, 20 of them wrong. Skipping the 300: 30 errors in 500 answers, instead of 25 in 495."""
    alone = Outcomes(np.repeat([0.9, 0.1], [300, 700]), np.repeat([False, True, False], [10, 290, 700]))
    by_samples = np.repeat([False, True, False, True, False], [10, 290, 20, 180, 500])
    seen = TwoStageOutcomes(alone, Outcomes(np.repeat([0.2, 0.8, 0.2], [5, 495, 500]), by_samples))
    assert two_stage_trial(seen, Rule(NEVER, 0.5)) == Trial(1000, 495, 25, pytest.approx(99.0), 1.0)
    found = certify_cascade(seen, seen, alpha=0.1, delta=0.05)
    assert isinstance(found, Certified)
    assert (found.trial.n_accepted, found.trial.errors, found.trial.retrieval_rate) == (500, 30, 0.7)
    assert 0.1 < found.rule.answer_min < 0.9


def test_what_always_draws_samples_is_no_cascade() -> None:
    """Nothing is sure by its tokens: a threshold for samples could be proven, and saves none of them."""
    alone = Outcomes(np.full(800, 0.2), np.tile([True, False], 400))
    later = Outcomes(np.tile([0.95, 0.2], 400), np.tile([True, False], 400))
    seen = TwoStageOutcomes(alone, later)
    assert isinstance(certify_two_stage(seen, seen, alpha=0.1, delta=0.05), Certified)
    assert isinstance(certify_cascade(seen, seen, alpha=0.1, delta=0.05), Infeasible)


@pytest.mark.parametrize(("alpha", "delta"), [(0.0, 0.1), (1.0, 0.1), (0.1, 0.0), (0.1, 1.5)])
def test_promises_that_mean_nothing_are_refused(alpha: float, delta: float) -> None:
    """Certainty cannot be bought with labels."""
    with pytest.raises(ValueError, match="strictly between"):
        certify_closed_book(CONFORMAL, CONFORMAL, alpha=alpha, delta=delta)


@given(outcomes, outcomes, st.sampled_from([0.1, 0.3, 0.5]), st.sampled_from([0.05, 0.2]))
def test_a_certificate_stands_on_its_own_test(tuning: Outcomes, held_out: Outcomes, alpha: float, delta: float) -> None:
    """Its p-value is at most delta, its counts are those of its rule, and its error rate lies below alpha."""
    found = certify_closed_book(tuning, held_out, alpha=alpha, delta=delta)
    if isinstance(found, Certified):
        trial = found.trial
        assert binomial_cdf(trial.errors, trial.n_accepted, alpha) <= delta
        assert trial == closed_book_trials(held_out, [found.rule])[0]
        assert (trial.selective_risk or 0) <= alpha
    else:
        assert found.n_labels == tuning.n + held_out.n


@given(outcomes, outcomes, st.randoms())
def test_the_order_of_the_labels_changes_nothing(tuning: Outcomes, held_out: Outcomes, random: object) -> None:
    """Nor does which of equal answers came first."""
    rows = list(range(held_out.n))
    random.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = held_out.rows(np.array(rows))
    one, other = (certify_closed_book(tuning, h, alpha=0.3, delta=0.2) for h in (held_out, shuffled))
    assert type(one) is type(other)
    if isinstance(one, Certified) and isinstance(other, Certified):
        assert one.rule == other.rule


@given(outcomes, outcomes, st.data())
def test_an_error_more_never_widens_coverage(tuning: Outcomes, held_out: Outcomes, data: st.DataObject) -> None:
    """Make one correct held-out answer wrong: what is certified answers no more than before."""
    place = data.draw(st.integers(0, held_out.n - 1))
    is_correct = held_out.is_correct.copy()
    is_correct[place] = False
    worse = Outcomes(held_out.confidence, is_correct)
    assert _coverage(tuning, worse, 0.3, 0.2) <= _coverage(tuning, held_out, 0.3, 0.2)
    for alpha in (0.1, 0.4):
        lower, higher = conformal_threshold(held_out, alpha=alpha), conformal_threshold(worse, alpha=alpha)
        assert higher is None or (lower is not None and lower <= higher)


@given(outcomes, outcomes, st.sampled_from([0.05, 0.1, 0.2]))
def test_more_doubt_allowed_never_shrinks_coverage(tuning: Outcomes, held_out: Outcomes, delta: float) -> None:
    """On the same path: the rules to test are drawn up for the strictest delta here."""
    rules = [Rule(cut) for cut in candidate_thresholds(tuning.confidence, 20)]
    trials = closed_book_trials(held_out, rules)
    for alpha in (0.1, 0.3):
        strict = {i for i, trial in enumerate(trials) if trial.p_value(alpha) <= delta}
        assert strict <= {i for i, trial in enumerate(trials) if trial.p_value(alpha) <= 2 * delta}
        assert strict <= {i for i, trial in enumerate(trials) if trial.p_value(alpha + 0.1) <= delta}


@given(outcomes, st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_answers_more(seen: Outcomes, one: float, other: float) -> None:
    """More answers, and no fewer errors."""
    strict, lenient = closed_book_trials(seen, [Rule(max(one, other)), Rule(min(one, other))])
    assert strict.n_accepted <= lenient.n_accepted
    assert strict.errors <= lenient.errors


def test_the_promise_is_kept_and_a_naive_picker_breaks_it() -> None:
    """300 draws of 150 + 450 labels: error rates above alpha in at most delta + 3 standard errors of them."""
    alpha, delta, n_draws = 0.1, 0.1, 300
    found = [
        certify_closed_book(world(150, s), world(450, 10_000 + s), alpha=alpha, delta=delta) for s in range(n_draws)
    ]
    certified = [one.rule.answer_min for one in found if isinstance(one, Certified)]
    broken = sum(true_risk(threshold) > alpha for threshold in certified) / n_draws
    assert broken <= delta + 3 * math.sqrt(delta * (1 - delta) / n_draws)
    assert np.mean([1 - threshold for threshold in certified]) >= 0.6 * 0.41
    naive = [_naive(world(600, s), alpha) for s in range(n_draws)]
    assert np.mean([true_risk(threshold) > alpha for threshold in naive]) > 0.35


def test_two_stages_keep_their_promise() -> None:
    """The joint error rate of both stages, measured on 200,000 fresh questions."""
    alpha, delta, n_draws = 0.1, 0.1, 100
    fresh = _two_stages(200_000, 999_999)
    risks = []
    for seed in range(n_draws):
        found = certify_two_stage(_two_stages(150, seed), _two_stages(450, 50_000 + seed), alpha=alpha, delta=delta)
        if isinstance(found, Certified):
            risks.append(two_stage_trial(fresh, found.rule).selective_risk or 0.0)
    assert len(risks) > 0.7 * n_draws
    assert np.mean([risk > alpha for risk in risks]) <= delta + 3 * math.sqrt(delta * (1 - delta) / n_draws)


def test_conformal_control_holds_on_average() -> None:
    """Answered and wrong, over 500 draws of 60 labels: at most alpha + 3 standard errors."""
    joint = []
    for seed in range(500):
        threshold = conformal_threshold(world(60, seed), alpha=0.1)
        joint.append(0.0 if threshold is None else true_risk(threshold) * (1 - threshold))
    assert np.mean(joint) <= 0.1 + 3 * np.std(joint) / math.sqrt(500)
    assert np.mean(joint) > 0.05


def test_groups_are_never_parted() -> None:
    """Answers to one question fall on the same side of a split, whatever the seed."""
    groups = np.repeat(np.arange(40), 3)
    for seed in range(5):
        some, rest = split_by_group(groups, 0.25, seed)
        assert len(some) == 30
        assert not set(groups[some]) & set(groups[rest])
        assert sorted([*some, *rest]) == list(range(120))


def test_adding_trials_adds_their_counts() -> None:
    """Rates are weighted by the number of questions."""
    both = Trial(10, 4, 1, 0.5, 0.2) + Trial(30, 8, 2, 1.5, 0.6)
    assert both == Trial(40, 12, 3, 2.0, pytest.approx(0.5))


def _coverage(tuning: Outcomes, held_out: Outcomes, alpha: float, delta: float) -> int:
    found = certify_closed_book(tuning, held_out, alpha=alpha, delta=delta)
    return found.trial.n_accepted if isinstance(found, Certified) else 0


def _naive(seen: Outcomes, alpha: float) -> float:
    """The lowest threshold whose error rate on the labels is at most alpha: what a notebook would pick."""
    rules = [Rule(cut) for cut in sorted(seen.confidence)]
    trials = closed_book_trials(seen, rules)
    return min(
        (r.answer_min for r, t in zip(rules, trials, strict=True) if (t.selective_risk or 0) <= alpha), default=1
    )


def _two_stages(n: int, seed: int) -> TwoStageOutcomes:
    """Looking it up helps, and what is hard from memory stays harder."""
    random = np.random.default_rng(seed)
    first = random.uniform(0.001, 0.999, n)
    second = np.clip(0.4 + 0.4 * first + random.uniform(-0.3, 0.3, n), 0.001, 0.999)
    return TwoStageOutcomes(
        Outcomes(first, random.random(n) >= 0.9 * (1 - first) ** 1.5),
        Outcomes(second, random.random(n) >= 0.6 * (1 - second)),
    )
