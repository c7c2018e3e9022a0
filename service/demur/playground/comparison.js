// Two answers side by side: the same question with and without passages, or asked more carefully.
import { el, fill } from "./dom.js";
import { capital, counted, nats, seconds, share } from "./numbers.js";
import { chip } from "./verdict.js";

/** Fills `root` with a table of two entries of the session. */
export function showComparison(root, entries) {
  const isSame = entries[0].question.prompt === entries[1].question.prompt;
  fill(
    root,
    el("h2", { id: "comparison-title" }, isSame ? "Side by side" : "Two questions side by side"),
    el(
      "div",
      { class: "table-place" },
      el(
        "table",
        { class: "versus" },
        el("thead", {}, el("tr", {}, el("td", {}), ...entries.map((e) => el("th", { scope: "col" }, isSame ? capital(asked(e)) : e.question.prompt)))),
        el("tbody", {}, ...rows(entries, isSame)),
      ),
    ),
  );
}

/** How an entry was asked, in a few words. */
export function asked({ question }) {
  const passages = question.passages.length ? `with ${counted(question.passages.length, "passage")}` : "without passages";
  const from = question.retriever ? ` from ${question.retriever}` : "";
  return `${passages}${question.passages.length ? from : ""}, ${question.quality}${question.policy ? ", own thresholds" : ""}`;
}

function rows(entries, isSame) {
  const results = entries.map((e) => e.result);
  return [
    !isSame && row("Asked", entries.map(asked)),
    row("Verdict", results.map((r) => chip(r.decision))),
    row("Answer", results.map((r) => el("span", { class: "said" }, r.answer ?? "–"))),
    row("Confidence", results.map((r) => share(r.confidence))),
    row("Semantic entropy", results.map((r) => (r.uncertainty.semantic_entropy === null ? "–" : nats(r.uncertainty.semantic_entropy)))),
    row("Meanings", results.map(strip)),
    row("Groundedness", results.map((r) => (r.groundedness === null ? "–" : share(r.groundedness)))),
    row("Time", results.map(time)),
  ].filter(Boolean);
}

function time({ cache, timings }) {
  if (cache.status === "hit") return "from the cache";
  return timings ? seconds(timings.total_s) : "–";
}

function row(name, cells) {
  return el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((cell) => el("td", {}, cell)));
}

/** The meanings of an answer as one bar, the heaviest first. */
export function strip(result) {
  const weights = result.clusters.map((c) => c.mass ?? c.size / result.sampling.completed).sort((a, b) => b - a);
  const name = counted(weights.length, "meaning");
  return el("span", { class: "strip-place" }, el("span", { class: "strip", "aria-hidden": "true" }, ...weights.map((w) => el("span", { vars: { "--part": w.toFixed(4) } }))), name);
}
