// Sliders over the same evidence: the policy, decided again as they move.
import { el, fill } from "./dom.js";
import { curve } from "./curve.js";
import { share } from "./numbers.js";
import { answerThreshold, decide, HEURISTIC_MIN_SAMPLES } from "./policy.js";
import { chip } from "./verdict.js";

const STEPS = 200;

/** Fills `root` with sliders for `entry`. `decided` is where they begin; `moved` is told {policy, retrieval} whenever
 * one moves, and returns what is decided then. `askAgain` asks with the thresholds set. `known` is the risk-coverage
 * curve of the profile that gave the confidence, or null. */
export function showThresholds(root, entry, signals, decided, { moved, askAgain, known }) {
  const state = { policy: { ...decided.policy }, retrieval: { ...decided.retrieval } };
  const outcome = el("p", { class: "outcome", role: "status" });
  const zones = el("div", { class: "zones", "aria-hidden": "true" });
  const hurdle = el("p", { class: "note hurdle" });
  const answerMin = answerThreshold(state.retrieval);
  const afterwards = state.retrieval.attempt >= 1 ? " (after retrieval)" : "";
  const plot = known ? curve(known) : null;
  const sliders = [
    slider("answer-from", `Answer from confidence${afterwards}`, state.policy[answerMin], (value) => set({ [answerMin]: value })),
    slider("retrieve-from", "Retrieve from confidence", state.policy.retrieve_min, (value) => set({ retrieve_min: value })),
    grounding(entry, state.policy, (value) => set({ groundedness_min: value })),
  ];

  function set(change) {
    Object.assign(state.policy, change);
    tell();
  }

  function tell() {
    const now = moved(state);
    outcome.replaceChildren(chip(now.decision), now.isOwn ? " with your thresholds" : " as the service decided");
    again.hidden = !now.isOwn;
    reset.hidden = !now.isOwn;
    const possible = drawZones(zones, signals, state);
    hurdle.textContent = possible.has("answer") ? "" : whyNever(signals, state.policy);
    plot?.mark(state.policy[answerMin]);
  }

  const reset = el("button", { type: "button", class: "plain small", on: { click: () => showThresholds(root, entry, signals, decided, { moved, askAgain, known }) } }, "Back to the service's");
  const again = el("button", { type: "button", class: "plain small", on: { click: () => askAgain({ ...state.policy }) } }, "Ask with these");
  fill(
    root,
    el("div", { class: "panel-head" }, el("h2", { id: "thresholds-title" }, "What if the thresholds were others?"), outcome),
    el("div", { class: "axis" }, plot?.node, zones),
    hurdle,
    el("div", { class: "sliders" }, ...sliders, lookUp(state.retrieval, tell)),
    el("div", { class: "controls" }, reset, again, el("p", { class: "note" }, caution(entry.result))),
  );
  tell();
}

function slider(id, name, value, set) {
  const shown = el("output", { for: id }, share(value));
  const input = el("input", { id, type: "range", min: 0, max: 1, step: 0.01, value, on: { input: () => change() } });
  function change() {
    shown.textContent = share(input.valueAsNumber);
    set(input.valueAsNumber);
  }
  return el("div", { class: "slider" }, el("label", { for: id }, name), shown, input);
}

/** Groundedness is demanded or not; without passages there is nothing to demand it of. */
function grounding(entry, policy, set) {
  const hasPassages = entry.question.passages.length > 0;
  const start = policy.groundedness_min ?? 0.5;
  const shown = el("output", { for: "grounded-from" }, policy.groundedness_min === null ? "off" : share(start));
  const input = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: start, id: "grounded-from", "aria-label": "Groundedness at least", on: { input: () => change() } });
  const box = el("input", { type: "checkbox", on: { change: () => change() } });
  box.checked = policy.groundedness_min !== null;
  box.disabled = !hasPassages;
  input.disabled = !box.checked;
  function change() {
    input.disabled = !box.checked;
    shown.textContent = box.checked ? share(input.valueAsNumber) : "off";
    set(box.checked ? input.valueAsNumber : null);
  }
  const name = hasPassages ? "Demand groundedness of" : "Demand groundedness (no passages were given)";
  return el("div", { class: "slider" }, el("label", { class: "check" }, box, el("span", {}, name)), shown, input);
}

function lookUp(retrieval, tell) {
  const box = el("input", { type: "checkbox", on: { change: () => change() } });
  function change() {
    retrieval.available = box.checked;
    tell();
  }
  const isUsedUp = retrieval.attempt >= retrieval.max_attempts;
  box.checked = retrieval.available && !isUsedUp;
  box.disabled = isUsedUp;
  return el("label", { class: "check" }, box, el("span", {}, isUsedUp ? "It was looked up already" : "Something can be looked up"));
}

/** What would be decided at each confidence, with all else as it is, and where this answer stands; returns what can. */
function drawZones(zones, signals, { policy, retrieval }) {
  const runs = [];
  for (let i = 0; i < STEPS; i += 1) {
    const { decision } = decide({ ...signals, confidence: (i + 0.5) / STEPS }, policy, retrieval);
    if (runs.at(-1)?.decision === decision) runs.at(-1).n += 1;
    else runs.push({ decision, n: 1 });
  }
  zones.replaceChildren(
    ...runs.map(({ decision, n }) => el("span", { class: "zone", "data-verdict": decision, vars: { "--part": n / STEPS } }, n > STEPS / 8 ? decision : "")),
    el("span", { class: "needle", vars: { "--at": signals.confidence.toFixed(4) } }, share(signals.confidence)),
  );
  return new Set(runs.map((run) => run.decision));
}

/** What keeps this from being answered at any confidence. */
function whyNever(signals, policy) {
  if (signals.is_non_answer) return "No threshold makes this an answer: the model itself gives none.";
  if (policy.groundedness_min !== null) return "No confidence makes this an answer: the passages do not support it as far as you demand.";
  if (signals.greedy_agrees === false) return "No threshold makes this an answer: uncalibrated, the answer at temperature 0 must agree, and it is another one.";
  return `No threshold makes this an answer: uncalibrated, it takes ${HEURISTIC_MIN_SAMPLES} samples.`;
}

function caution(result) {
  return result.guarantee ? "The guarantee holds for the service's own thresholds only." : "Nothing is promised: the same evidence, decided again.";
}
