"""From signals to a decision."""

from __future__ import annotations

from demur.types import Action, Decision, Policy, Reason, Retrieval, Signals

HEURISTIC_MIN_SAMPLES = 5  # below, agreement by chance is too likely: two coin flips agree half the time


def decide(signals: Signals, policy: Policy, retrieval: Retrieval) -> Decision:
    """answer, retrieve or abstain; raising the confidence only moves abstain -> retrieve -> answer.

    Uncertain means: a non-answer, confidence below the answer threshold, or groundedness below its own. Uncertain and
    retrieval possible gives `retrieve`, unless confidence is below `retrieve_min` (hopeless). Retrieval used up or
    unavailable gives `abstain`, so that loops end. A refusal, and an answer that the passages do not support, are
    never hopeless: passages may be just what they lack.

    Without calibration, confidence is agreement, and the heuristic also asks for five samples and for the greedy answer
    to agree with them. It is a convention, not a guarantee.
    """
    if _is_certain(signals, policy, retrieval):
        return Decision(Action.ANSWER, Reason.ABOVE_ANSWER_THRESHOLD)
    cause = _special_cause(signals, policy)
    if not retrieval.is_possible:
        return Decision(Action.ABSTAIN, cause or Reason.RETRIEVAL_EXHAUSTED)
    if _is_hopeless(signals, policy):
        return Decision(Action.ABSTAIN, cause or Reason.BELOW_RETRIEVE_THRESHOLD)
    return Decision(Action.RETRIEVE, cause or Reason.BELOW_ANSWER_THRESHOLD)


def _is_certain(signals: Signals, policy: Policy, retrieval: Retrieval) -> bool:
    threshold = policy.answer_min_after_retrieval if retrieval.attempt >= 1 else policy.answer_min
    is_confident = signals.confidence >= threshold and not signals.is_non_answer and not _is_ungrounded(signals, policy)
    return is_confident and (signals.is_calibrated or _passes_heuristic(signals))


def _passes_heuristic(signals: Signals) -> bool:
    return signals.n_samples >= HEURISTIC_MIN_SAMPLES and signals.greedy_agrees is not False


def _is_ungrounded(signals: Signals, policy: Policy) -> bool:
    """Where grounding is demanded and could not be measured, it is not given: an unread passage supports nothing."""
    if policy.groundedness_min is None:
        return False
    if signals.groundedness is None:
        return signals.is_grounding_unknown
    return not signals.groundedness >= policy.groundedness_min


def _is_hopeless(signals: Signals, policy: Policy) -> bool:
    may_be_mended = signals.is_non_answer or _is_ungrounded(signals, policy)
    return not (signals.confidence >= policy.retrieve_min or may_be_mended)


def _special_cause(signals: Signals, policy: Policy) -> Reason | None:
    """What tells the caller more than which threshold was missed."""
    if signals.is_non_answer:
        return Reason.NON_ANSWER
    if _is_ungrounded(signals, policy):
        return Reason.CONTRADICTS_CONTEXT if signals.contradicts_context else Reason.INSUFFICIENT_CONTEXT
    if signals.deadline_reached and signals.n_samples < HEURISTIC_MIN_SAMPLES:
        return Reason.DEADLINE
    return None
