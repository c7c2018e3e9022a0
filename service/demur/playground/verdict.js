// The verdict: what to do, in colour, shape and word, and the sentence why.
import { el, fill } from "./dom.js";
import { icon } from "./icons.js";
import { capital, counted, rate, seconds, share } from "./numbers.js";
import { answerThreshold } from "./policy.js";
import { answerText } from "./shading.js";
import { degradedWords, reasonWords, verdicts, verdictWord } from "./words.js";

const SHOWN_AS_BADGE = new Set(["uncalibrated"]);
const STAGES = { closed_book: "first answers", two_stage: "with one retrieval", cascade: "first answers, with samples or without" };

/** Fills `root`. `decided` is what is to be shown: {decision, reason, policy, retrieval, isOwn}; `actions` are
 * {lookUp, askAgain}. */
export function showVerdict(root, entry, signals, decided, actions) {
  const { result } = entry;
  root.classList.remove("pending");
  root.dataset.verdict = decided.decision;
  fill(
    root,
    el(
      "div",
      { class: "verdict-head" },
      icon(decided.decision),
      el("p", { class: "verdict-word" }, verdictWord(decided.decision)),
      badges(result, decided, actions),
    ),
    el("p", { class: "verdict-why" }, sentence(result, signals, decided)),
    answerText(result),
    advice(decided, actions),
    ...reservations(result),
  );
}

/** Fills `root` while there is none: `told` says how far it is. */
export function showPending(root, told) {
  delete root.dataset.verdict;
  root.classList.add("pending");
  root.replaceChildren(
    el("div", { class: "verdict-head" }, icon("pending"), el("p", { class: "verdict-word" }, "Listening")),
    el("p", { class: "verdict-why" }, told),
  );
}

/** A small verdict, for lists and tables. */
export function chip(decision) {
  return el("span", { class: "chip", "data-verdict": decision }, icon(decision), verdictWord(decision));
}

/** Why, with the numbers that decided. */
export function sentence(result, signals, { reason, policy, retrieval }) {
  const words = reasonWords(reason);
  const numbers = numbersFor(result, signals, reason, policy, retrieval);
  return `${capital(words)}${numbers ? `: ${numbers}` : ""}.`;
}

function numbersFor(result, signals, reason, policy, retrieval) {
  const n = signals.n_samples;
  if (reason === "deadline") return `${n} of ${result.sampling.requested}`;
  if (reason === "non_answer") return "that is never taken for confidence";
  if (reason === "contradicts_context" || reason === "insufficient_context") return grounds(signals, policy);
  const threshold = reason === "below_retrieve_threshold" ? policy.retrieve_min : policy[answerThreshold(retrieval)];
  const isEnough = signals.confidence >= threshold;
  const measured = `${confidenceOf(result, signals)} ${isEnough ? "≥" : "<"} ${share(threshold)}`;
  if (!isEnough || signals.is_calibrated || reason === "above_answer_threshold") return measured;
  if (signals.greedy_agrees === false) return `${measured}, but the answer at temperature 0 is another one`;
  return `${measured}, but ${counted(n, "sample")} are too few to tell`;
}

function confidenceOf(result, signals) {
  if (signals.is_calibrated) return `probability of being right ${share(signals.confidence)}`;
  const n = signals.n_samples;
  const agreeing = Math.round(result.uncertainty.agreement * n);
  return `${agreeing} of ${n} samples ${agreeing === 1 ? "means" : "mean"} it, agreement ${share(signals.confidence)}`;
}

function grounds(signals, policy) {
  if (signals.groundedness === null) return "groundedness could not be measured";
  return `groundedness ${share(signals.groundedness)} < ${share(policy.groundedness_min)}`;
}

function badges(result, decided, actions) {
  return el(
    "p",
    { class: "badges" },
    decided.isOwn && el("span", { class: "badge strong" }, `your thresholds; the service said ${verdictWord(result.decision)}`),
    !result.calibrated && el("span", { class: "badge", title: degradedWords("uncalibrated") }, "uncalibrated"),
    result.guarantee && !decided.isOwn && decided.decision === "answer" && guarantee(result.guarantee),
    cacheBadge(result.cache, actions),
  );
}

function guarantee({ alpha, delta, scope, population, n_calibration: n }) {
  const stages = STAGES[scope];
  const title = `${stages}; tested on ${n} questions like ${population}; confidence ${rate(1 - delta)}`;
  return el("span", { class: "badge strong", title }, `at most ${rate(alpha)} of answers wrong`);
}

function cacheBadge(cache, actions) {
  if (!["hit", "shared"].includes(cache.status)) return null;
  const text = cache.status === "hit" ? `from the cache, ${seconds(cache.age_s)} old` : "drawn for somebody else just now";
  const again = el("button", { type: "button", class: "link", on: { click: actions.askAgain } }, "ask again, fresh");
  return el("span", { class: "badge" }, text, " · ", again);
}

function advice(decided, actions) {
  const known = verdicts[decided.decision];
  if (!known || decided.decision === "answer") return null;
  const button =
    decided.decision === "retrieve" &&
    el("button", { type: "button", class: "plain", id: "look-up", on: { click: actions.lookUp } }, "Add what you found");
  return el("p", { class: "advice" }, known.advice, " ", button);
}

function reservations(result) {
  const told = result.degraded.filter((name) => !SHOWN_AS_BADGE.has(name));
  if (!told.length) return [];
  return [el("ul", { class: "reservations" }, ...told.map((name) => el("li", {}, degradedWords(name))))];
}
