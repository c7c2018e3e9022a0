// The server's policy (demur/policy.py), again: sliders decide here, at once. Names and laws are the same, and a test
// compares the two over a grid.

export const HEURISTIC_MIN_SAMPLES = 5;

/** {decision, reason} from `signals`, thresholds and what may still be looked up. */
export function decide(signals, policy, retrieval) {
  if (isCertain(signals, policy, retrieval)) return { decision: "answer", reason: "above_answer_threshold" };
  const cause = specialCause(signals, policy);
  if (!isPossible(retrieval)) return { decision: "abstain", reason: cause ?? "retrieval_exhausted" };
  if (isHopeless(signals, policy)) return { decision: "abstain", reason: cause ?? "below_retrieve_threshold" };
  return { decision: "retrieve", reason: cause ?? "below_answer_threshold" };
}

/** The threshold for `answer` at this stage of a retrieval loop, by the name it has in a policy. */
export function answerThreshold(retrieval) {
  return retrieval.attempt >= 1 ? "answer_min_after_retrieval" : "answer_min";
}

function isPossible(retrieval) {
  return retrieval.available && retrieval.attempt < retrieval.max_attempts;
}

function isCertain(signals, policy, retrieval) {
  const isConfident =
    signals.confidence >= policy[answerThreshold(retrieval)] && !signals.is_non_answer && !isUngrounded(signals, policy);
  return isConfident && (signals.is_calibrated || passesHeuristic(signals));
}

function passesHeuristic(signals) {
  return signals.n_samples >= HEURISTIC_MIN_SAMPLES && signals.greedy_agrees !== false;
}

function isUngrounded(signals, policy) {
  if (policy.groundedness_min === null) return false;
  if (signals.groundedness === null) return signals.is_grounding_unknown;
  return !(signals.groundedness >= policy.groundedness_min);
}

function isHopeless(signals, policy) {
  const mayBeMended = signals.is_non_answer || isUngrounded(signals, policy);
  return !(signals.confidence >= policy.retrieve_min || mayBeMended);
}

function specialCause(signals, policy) {
  if (signals.is_non_answer) return "non_answer";
  if (isUngrounded(signals, policy)) return signals.contradicts_context ? "contradicts_context" : "insufficient_context";
  if (signals.deadline_reached && signals.n_samples < HEURISTIC_MIN_SAMPLES) return "deadline";
  return null;
}
