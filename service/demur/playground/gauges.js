// The signals as gauges; one that is missing is grey and says why.
import { el, fill } from "./dom.js";
import { capital, counted, nats, share } from "./numbers.js";
import { answerThreshold } from "./policy.js";
import { degradedWords } from "./words.js";

/** Fills `root`. `decided` holds the thresholds in force. */
export function showGauges(root, entry, decided) {
  const { result, question } = entry;
  fill(
    root,
    entropy(result),
    confidence(result, decided),
    tokenConfidence(result),
    groundedness(result, question, decided),
  );
}

function entropy(result) {
  const { semantic_entropy: value, predictive_entropy: wordings } = result.uncertainty;
  if (value === null) return missing("Semantic entropy", degradedWords("sampling_skipped"));
  const n = result.sampling.completed;
  const full = Math.log(n);
  const told = wordings === null ? "" : ` Over wordings: ${nats(wordings)}.`;
  return gauge("Semantic entropy", value, {
    shown: value.toFixed(2),
    unit: "nats",
    part: full ? value / full : 0,
    tone: "doubt",
    ends: ["0", `ln ${n} = ${full.toFixed(2)}`],
    note: `${counted(result.uncertainty.num_clusters, "meaning")} in ${n} samples.${told}`,
  });
}

function confidence(result, { policy, retrieval }) {
  const threshold = policy[answerThreshold(retrieval)];
  return gauge("Confidence", result.confidence, {
    marks: [{ at: threshold, name: `answer from ${share(threshold)}` }],
    note: result.calibrated
      ? `Probability of being right, by ${result.calibration.method} on ${result.calibration.n_labels} labels.`
      : "Share of samples that agree. Not a probability: nothing is calibrated.",
  });
}

function tokenConfidence(result) {
  const t = result.token_confidence;
  if (t === null) return missing("Token confidence", degradedWords("no_logprobs"));
  const of = t.kind === "greedy" ? "the answer at temperature 0" : "a sampled answer";
  return gauge("Token confidence", t.mean, {
    marks: [{ at: t.min, name: `least sure token ${share(t.min)}` }],
    note: `Mean token probability of ${of}; the least is ${share(t.min)}.`,
  });
}

function groundedness(result, question, { policy }) {
  const value = result.groundedness;
  if (!question.passages.length) return missing("Groundedness", "no passages were given");
  if (value === null) return missing("Groundedness", degradedWords("nli_unavailable"));
  const least = policy.groundedness_min;
  return gauge("Groundedness", value, {
    marks: least === null ? [] : [{ at: least, name: `demanded: ${share(least)}` }],
    note: grounds(result),
  });
}

function grounds(result) {
  const passages = result.nli?.passages ?? [];
  if (result.nli?.contradicts_context) return "The passages contradict the answer.";
  const best = passages.reduce((a, p, i) => (p && p.entailment > (passages[a]?.entailment ?? -1) ? i : a), 0);
  return passages.length > 1 ? `Passage ${best + 1} entails the answer most.` : "How far the passage entails the answer.";
}

function gauge(name, value, { shown = share(value), unit = "", part = value, tone = "sure", ends = ["0", "1"], marks = [], note }) {
  const fill = el("span", { class: "fill", vars: { "--part": part.toFixed(4) } });
  const ticks = marks.map((m) => el("span", { class: "tick", title: m.name, vars: { "--at": m.at.toFixed(4) } }));
  return el(
    "article",
    { class: "gauge", "data-tone": tone },
    el("h3", {}, name),
    el("p", { class: "reading" }, shown, unit && el("small", {}, ` ${unit}`)),
    el("div", { class: "track", role: "img", "aria-label": [`${shown} ${unit}`.trim(), ...marks.map((m) => m.name)].join(", ") }, fill, ...ticks),
    el("p", { class: "ends" }, el("span", {}, ends[0]), el("span", {}, ends[1])),
    el("p", { class: "note" }, note),
  );
}

function missing(name, why) {
  return el(
    "article",
    { class: "gauge missing" },
    el("h3", {}, name),
    el("p", { class: "reading" }, "–"),
    el("div", { class: "track", "aria-hidden": "true" }),
    el("p", { class: "note" }, `${capital(why)}.`),
  );
}
