"""The decision: every row of the documented table, then its laws."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.policy import decide
from demur.types import Action, Decision, Policy, Reason, Retrieval, Signals

POLICY = Policy(answer_min=0.7, answer_min_after_retrieval=0.5, retrieve_min=0.2, groundedness_min=0.6)
SURE = Signals(n_samples=10, confidence=0.9, is_calibrated=True, is_non_answer=False, greedy_agrees=True)
FRESH, USED_UP, NONE = Retrieval(), Retrieval(attempt=1), Retrieval(available=False)
ORDER = [Action.ABSTAIN, Action.RETRIEVE, Action.ANSWER]

shares = st.floats(0, 1)
signals = st.builds(
    Signals,
    n_samples=st.integers(1, 20),
    confidence=shares,
    is_calibrated=st.booleans(),
    is_non_answer=st.booleans(),
    greedy_agrees=st.booleans(),
    groundedness=st.none() | shares,
    contradicts_context=st.booleans(),
    deadline_reached=st.booleans(),
)
policies = st.builds(
    Policy,
    answer_min=shares,
    answer_min_after_retrieval=shares,
    retrieve_min=shares,
    groundedness_min=st.none() | shares,
)
retrievals = st.builds(Retrieval, available=st.booleans(), attempt=st.integers(0, 3), max_attempts=st.integers(0, 3))


@pytest.mark.parametrize(
    ("change", "retrieval", "action", "reason"),
    [
        ({}, FRESH, "answer", "above_answer_threshold"),
        ({}, NONE, "answer", "above_answer_threshold"),
        ({"confidence": 0.7}, FRESH, "answer", "above_answer_threshold"),
        ({"confidence": 0.69}, FRESH, "retrieve", "below_answer_threshold"),
        ({"confidence": 0.2}, FRESH, "retrieve", "below_answer_threshold"),
        ({"confidence": 0.19}, FRESH, "abstain", "below_retrieve_threshold"),
        ({"confidence": 0.69}, NONE, "abstain", "retrieval_exhausted"),
        ({"confidence": 0.19}, NONE, "abstain", "retrieval_exhausted"),
        ({"confidence": 0.6}, USED_UP, "answer", "above_answer_threshold"),
        ({"confidence": 0.49}, USED_UP, "abstain", "retrieval_exhausted"),
        ({"is_non_answer": True, "confidence": 1.0}, FRESH, "retrieve", "non_answer"),
        ({"is_non_answer": True, "confidence": 0.1}, FRESH, "retrieve", "non_answer"),
        ({"is_non_answer": True}, USED_UP, "abstain", "non_answer"),
        ({"groundedness": 0.5}, FRESH, "retrieve", "insufficient_context"),
        ({"groundedness": 0.5, "confidence": 0.1}, FRESH, "retrieve", "insufficient_context"),
        ({"groundedness": 0.5, "contradicts_context": True}, USED_UP, "abstain", "contradicts_context"),
        ({"groundedness": 0.6}, FRESH, "answer", "above_answer_threshold"),
        ({"groundedness": None}, FRESH, "answer", "above_answer_threshold"),
        ({"confidence": 0.6, "n_samples": 3, "deadline_reached": True}, FRESH, "retrieve", "deadline"),
        ({"confidence": 0.6, "n_samples": 3, "deadline_reached": True}, NONE, "abstain", "deadline"),
        ({"confidence": 0.6, "n_samples": 8, "deadline_reached": True}, NONE, "abstain", "retrieval_exhausted"),
        ({"confidence": math.nan}, FRESH, "abstain", "below_retrieve_threshold"),
    ],
)
def test_the_table_is_followed(change: dict[str, object], retrieval: Retrieval, action: str, reason: str) -> None:
    """One row each, with the thresholds met exactly and just missed."""
    decision = decide(dataclasses.replace(SURE, **change), POLICY, retrieval)  # type: ignore[arg-type]
    assert decision == Decision(Action(action), Reason(reason))


@pytest.mark.parametrize("change", [{"n_samples": 4}, {"greedy_agrees": False}, {"confidence": 0.69}])
def test_without_calibration_the_heuristic_must_hold_as_well(change: dict[str, object]) -> None:
    """Five samples, and the greedy answer among those that agree."""
    uncalibrated = dataclasses.replace(SURE, is_calibrated=False)
    assert decide(uncalibrated, POLICY, FRESH).action == Action.ANSWER
    assert decide(dataclasses.replace(uncalibrated, **change), POLICY, FRESH).action == Action.RETRIEVE  # type: ignore[arg-type]


@given(signals, policies, retrievals, shares)
def test_more_confidence_never_moves_away_from_answering(
    one: Signals, policy: Policy, retrieval: Retrieval, confidence: float
) -> None:
    """abstain -> retrieve -> answer."""
    other = dataclasses.replace(one, confidence=confidence)
    low, high = sorted((one, other), key=lambda s: s.confidence)
    actions = [ORDER.index(decide(s, policy, retrieval).action) for s in (low, high)]
    assert actions == sorted(actions)


@given(signals, policies, retrievals)
def test_a_non_answer_is_never_answered(given_: Signals, policy: Policy, retrieval: Retrieval) -> None:
    """Unanimity in not knowing is no knowledge."""
    refused = dataclasses.replace(given_, is_non_answer=True)
    decision = decide(refused, policy, retrieval)
    assert decision.action == (Action.RETRIEVE if retrieval.is_possible else Action.ABSTAIN)
    assert decision.reason == Reason.NON_ANSWER


@given(signals, policies, retrievals)
def test_retrieval_ends(given_: Signals, policy: Policy, retrieval: Retrieval) -> None:
    """Retrieve is said only where the caller still can."""
    if decide(given_, policy, retrieval).action == Action.RETRIEVE:
        assert retrieval.is_possible


@given(signals, policies, retrievals)
def test_the_reason_belongs_to_the_action(given_: Signals, policy: Policy, retrieval: Retrieval) -> None:
    """An answer has one reason, and only an answer has it."""
    decision = decide(given_, policy, retrieval)
    is_answer = decision.action == Action.ANSWER
    assert is_answer == (decision.reason == Reason.ABOVE_ANSWER_THRESHOLD)
    if decision.reason == Reason.RETRIEVAL_EXHAUSTED:
        assert not retrieval.is_possible


@given(signals, policies)
def test_by_default_retrieval_is_always_tried_before_abstaining(given_: Signals, policy: Policy) -> None:
    """retrieve_min 0."""
    hopeful = dataclasses.replace(policy, retrieve_min=0.0)
    assert decide(given_, hopeful, FRESH).action != Action.ABSTAIN
