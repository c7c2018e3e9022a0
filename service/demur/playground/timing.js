// Where the time went, and what it cost.
import { el, fill } from "./dom.js";
import { counted, seconds } from "./numbers.js";

/** Fills `root`. */
export function showTiming(root, { result }) {
  const { timings: t, usage, nli } = result;
  const isRemembered = result.cache.status === "hit";
  const parts = t && !isRemembered ? phases(t) : [];
  fill(
    root,
    el("div", { class: "panel-head" }, el("h2", { id: "timing-title" }, "Time"), el("p", { class: "figure" }, t ? seconds(t.total_s) : "not told")),
    ...(parts.length ? [bar(parts), legend(parts)] : []),
    el("p", { class: "note" }, isRemembered ? "From the cache. When it was drawn: " : "", cost(usage, nli, t), " ", el("code", { id: "answer-id" }, result.id)),
  );
}

function bar(parts) {
  const spans = parts.map((p) => el("span", { "data-phase": p.name, vars: { "--part": p.part.toFixed(4) } }));
  return el("div", { class: "timing-bar", "aria-hidden": "true" }, ...spans);
}

function legend(parts) {
  return el("dl", { class: "phases" }, ...parts.map((p) => el("div", { "data-phase": p.name }, el("dt", {}, p.name), el("dd", {}, seconds(p.s)))));
}

/** The phases follow one another: of entailment, what ran after generation. */
function phases(t) {
  const after = t.nli_s - t.nli_hidden_s;
  const rest = Math.max(0, t.total_s - t.queue_s - t.generate_s - after);
  const named = { queue: t.queue_s, generate: t.generate_s, entailment: after, decide: rest };
  return Object.entries(named).map(([name, s]) => ({ name, s, part: t.total_s ? s / t.total_s : 0 }));
}

function cost(usage, nli, t) {
  const pairs = nli ? ` ${counted(nli.pairs, "pair")} judged, ${nli.pairs_cached} remembered.` : "";
  const hidden = t?.nli_hidden_s > 0 ? ` ${seconds(t.nli_hidden_s)} of entailment ran while samples were drawn.` : "";
  return `${usage.prompt_tokens} tokens read, ${usage.completion_tokens} written.${pairs}${hidden}`;
}
