// What the policy looks at, read from a response.

/** The signals of `result`, an answer to `question`. */
export function signalsOf(result, question) {
  return {
    n_samples: result.sampling.completed,
    confidence: result.confidence,
    is_calibrated: result.calibrated,
    is_non_answer: result.reason === "non_answer", // the policy names it before anything else
    greedy_agrees: greedyAgrees(result),
    groundedness: result.groundedness,
    is_grounding_unknown: result.groundedness === null && question.passages.length > 0,
    contradicts_context: result.nli?.contradicts_context ?? result.reason === "contradicts_context",
    deadline_reached: result.degraded.includes("deadline") && result.sampling.failed > 0,
  };
}

/** Whether the T=0 answer lies in the heaviest cluster, on a tie its own; null where there is none. */
function greedyAgrees(result) {
  if (!result.greedy) return null;
  const { cluster } = result.greedy;
  return cluster !== null && result.clusters[cluster].size === Math.max(...result.clusters.map((c) => c.size));
}
