"""Thresholds that keep a promise about the error rate among answered questions.

Learn-then-Test (Angelopoulos et al. 2021): one part of the labels (tuning) draws up a short list of rules and the order
in which to try them; the other part (held out), which nothing has looked at, tests them one after another with exact
binomial p-values and stops at the first failure. Whatever passed keeps its error rate at most alpha, with probability
at least 1 - delta over the draw of the labels, for questions that come from where the labelled ones came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from demur.calibration.binomial import binomial_cdf, n_without_error
from demur.calibration.outcomes import Outcomes, TwoStageOutcomes
from demur.calibration.trials import (
    NEVER,
    Rule,
    Trial,
    candidate_thresholds,
    closed_book_trials,
    two_stage_trial,
)

TUNING_SHARE = 0.25  # of the labels: fitting a curve and ranking thresholds takes fewer than proving one

_N_CANDIDATES = 20
_N_GRID = 20
_ROOM = 1.5  # times the fewest answers that could prove anything, expected among those held out
_N_ACCEPTED_MAX = 1_000_000
_SAVING = 0.5  # of an answer: what it is worth to answer a question without samples, to those who ask for a cascade


@dataclass(frozen=True, slots=True)
class Certified:
    """The error rate of `rule` among answered questions is at most alpha, with confidence 1 - delta: see `trial`."""

    rule: Rule
    alpha: float
    delta: float
    trial: Trial


@dataclass(frozen=True, slots=True)
class Infeasible:
    """No rule could be proved. `trial` is the first one that was tested, if there was any.

    `n_labels_needed`: about how many labels in all would do, if error rates are what they were here; None where no rule
    came out below alpha, so that more labels alone are not likely to help.
    """

    alpha: float
    delta: float
    n_labels: int
    trial: Trial | None
    n_labels_needed: int | None


def certify_closed_book(tuning: Outcomes, held_out: Outcomes, *, alpha: float, delta: float) -> Certified | Infeasible:
    """The certified threshold that answers most of the held-out questions, or what it would take to certify one."""
    rules = [Rule(cut) for cut in candidate_thresholds(tuning.confidence, _N_CANDIDATES)]
    tuned = dict(zip(rules, closed_book_trials(tuning, rules), strict=True))
    tested = dict(zip(rules, closed_book_trials(held_out, rules), strict=True))
    return _certify(tuned, tested.__getitem__, tuning.n, held_out.n, _Target(alpha, delta))


def certify_two_stage(
    tuning: TwoStageOutcomes, held_out: TwoStageOutcomes, *, alpha: float, delta: float, retrieval_cost: float = 0.0
) -> Certified | Infeasible:
    """The certified pair of thresholds with the best coverage - retrieval_cost * retrieval rate.

    The promise is about both stages together: the error rate among questions answered at either.
    """
    first = [NEVER, *candidate_thresholds(tuning.closed_book.confidence, _N_GRID)]
    return _certify_pairs(tuning, held_out, first, _Target(alpha, delta, retrieval_cost))


def certify_cascade(
    tuning: TwoStageOutcomes, held_out: TwoStageOutcomes, *, alpha: float, delta: float
) -> Certified | Infeasible:
    """The certified pair of best coverage + half the share answered without samples: a bound on what the greedy
    answer's tokens say of it, and a threshold for the questions that samples are drawn for.

    The promise is about both kinds of answers together. Rules that never do without samples are no cascades.
    """
    first = candidate_thresholds(tuning.closed_book.confidence, _N_GRID)
    return _certify_pairs(tuning, held_out, first, _Target(alpha, delta, _SAVING))


def _certify_pairs(
    tuning: TwoStageOutcomes, held_out: TwoStageOutcomes, first: list[float], target: _Target
) -> Certified | Infeasible:
    second = [NEVER, *candidate_thresholds(tuning.after_retrieval.confidence, _N_GRID)]
    trials = {rule: two_stage_trial(tuning, rule) for a in first for b in second if (rule := Rule(a, b))}
    shortlist = _safest_of_each_utility(trials, target)
    return _certify(shortlist, lambda rule: two_stage_trial(held_out, rule), tuning.n, held_out.n, target)


@dataclass(frozen=True, slots=True)
class _Target:
    alpha: float
    delta: float
    retrieval_cost: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.delta < 1):
            raise ValueError(f"alpha and delta must lie strictly between 0 and 1, got {self.alpha} and {self.delta}")

    def utility(self, trial: Trial) -> float:
        return trial.coverage - self.retrieval_cost * trial.retrieval_rate


def _certify(
    tuned: Mapping[Rule, Trial], test: Callable[[Rule], Trial], n_tuning: int, n_held_out: int, target: _Target
) -> Certified | Infeasible:
    alpha, delta, n_labels = target.alpha, target.delta, n_tuning + n_held_out
    sequence = _testing_order(tuned, n_held_out, target)
    passed = _fixed_sequence(((rule, test(rule)) for rule in sequence), alpha, delta)
    if passed:
        rule, trial = max(passed, key=lambda each: (target.utility(each[1]), -each[1].retrieval_rate))
        return Certified(rule, alpha, delta, trial)
    trials = [seen + test(rule) for rule, seen in tuned.items()]
    needed = [n for trial in trials if (n := _labels_needed(trial, alpha, delta)) is not None]
    first = test(sequence[0]) if sequence else None
    return Infeasible(alpha, delta, n_labels, first, max(n_labels + 1, min(needed)) if needed else None)


def _testing_order(tuned: Mapping[Rule, Trial], n_held_out: int, target: _Target) -> list[Rule]:
    """The most promising rule, and from there what is of ever more use; a rule that is expected to answer too few to
    prove anything is left out.

    From the strictest rule down, the sequence would often end at its first step, for want of answers. Nothing stricter
    than the first is worth a test: it could only end the sequence.
    """
    least = _ROOM * n_without_error(target.alpha, target.delta)
    able = [rule for rule, trial in tuned.items() if trial.coverage * n_held_out >= least]
    if not able:
        return []
    first = max(able, key=lambda rule: tuned[rule].promise(target.alpha))
    use = {rule: target.utility(tuned[rule]) for rule in able}
    return [first, *sorted((rule for rule in able if use[rule] > use[first]), key=use.__getitem__)]


def _fixed_sequence(tested: Iterable[tuple[Rule, Trial]], alpha: float, delta: float) -> list[tuple[Rule, Trial]]:
    """What comes before the first failure: in an order fixed beforehand, each test may use the whole delta."""
    passed = []
    for rule, trial in tested:
        if trial.p_value(alpha) > delta:
            break
        passed.append((rule, trial))
    return passed


def _safest_of_each_utility(trials: Mapping[Rule, Trial], target: _Target) -> dict[Rule, Trial]:
    """The pair of least risk among those of about the same use; of equals, the one that retrieves less."""
    best: dict[int, tuple[float, float, Rule]] = {}
    for rule, trial in trials.items():
        bucket = round(target.utility(trial) * _N_CANDIDATES)
        if trial.n_accepted:
            rank = (trial.likely_risk, trial.retrieval_rate, rule)
            best[bucket] = min(best.get(bucket, rank), rank, key=lambda one: one[:2])
    return {rule: trials[rule] for *_, rule in best.values()}


def _labels_needed(trial: Trial, alpha: float, delta: float) -> int | None:
    """Labels in all, if a rule goes on to answer this share with this error rate (taken half an error higher)."""
    rate = (trial.errors + 0.5) / (trial.n_accepted + 1)
    n_accepted = n_without_error(alpha, delta)
    while rate < alpha and n_accepted < _N_ACCEPTED_MAX:
        if binomial_cdf(math.ceil(rate * n_accepted), n_accepted, alpha) <= delta:
            return math.ceil(n_accepted / trial.coverage / (1 - TUNING_SHARE))
        n_accepted = math.ceil(1.05 * n_accepted)
    return None
