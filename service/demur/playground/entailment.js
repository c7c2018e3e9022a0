// Behind a meaning: who said it, and the scores that joined these words and kept others apart.
import { el, fill, spoken } from "./dom.js";
import { chance, percent, share } from "./numbers.js";
import { sampleText } from "./shading.js";

const RELATIONS = ["entailment", "neutral", "contradiction"];

/** Fills `root` with what is behind the cluster `index` of `result`. */
export function showDetail(root, result, index) {
  const cluster = result.clusters[index];
  fill(
    root,
    el("h3", {}, `“${cluster.text || "(empty)"}”`),
    el("div", { class: "detail-parts" }, saidBy(result, index), judged(result, index)),
  );
}

function saidBy(result, index) {
  const members = result.samples.filter((s) => s.cluster === index);
  const wordings = new Map();
  members.forEach((sample) => wordings.set(sample.text, [...(wordings.get(sample.text) ?? []), sample]));
  const items = [...wordings.values()].sort((a, b) => b.length - a.length).map(wording);
  return el("div", {}, el("h4", {}, `Said by ${members.length} of ${result.samples.length}`), el("ul", { class: "wordings" }, ...items));
}

function wording(samples) {
  const [first] = samples;
  const p = first.sequence_logprob === null ? null : Math.exp(first.sequence_logprob);
  const cut = first.finish_reason === "length" ? " · cut off" : "";
  const note = `${samples.length} ×${p === null ? "" : ` · p ${chance(p)}`}${cut}`;
  return el("li", {}, el("span", { class: "said" }, sampleText(first)), el("span", { class: "note" }, note));
}

function judged(result, index) {
  const { nli } = result;
  if (!nli?.judgements) return el("div", {}, el("p", { class: "note" }, "This service does not tell its entailment scores."));
  if (nli.model === null) return el("div", {}, el("p", { class: "note" }, "Answers were compared word for word: no model judged them."));
  const pairs = pairsOf(result);
  const inside = pairs.filter((p) => p.clusters.every((c) => c === index));
  const across = pairs.filter((p) => p.clusters.includes(index) && p.clusters[0] !== p.clusters[1]);
  const nothing = !inside.length && !across.length && "No pair was asked of the model: the words are the same, or were known to differ.";
  return el(
    "div",
    {},
    group("Joined: each entails the other", inside),
    group("Kept apart: not both entail", across),
    nothing && el("p", { class: "note" }, nothing),
    !nothing && el("p", { class: "legend" }, ...RELATIONS.map((r) => el("span", { "data-relation": r }, r))),
    !nothing && el("p", { class: "note" }, `→ from the first to the second, ← back; judged by ${nli.model}`),
  );
}

function group(title, pairs) {
  return pairs.length ? el("div", {}, el("h4", {}, title), el("ul", { class: "scores" }, ...pairs.map(pairScores))) : null;
}

function pairScores({ texts, ways }) {
  const [one, other] = texts.map((text) => text || "(empty)");
  const heading = el("p", { class: "direction" }, one, el("span", { class: "arrow" }, " and "), other);
  const inOrder = [...ways].sort((a, b) => a.isReverse - b.isReverse);
  return el("li", {}, heading, ...inOrder.map((way) => bar(way, way.isReverse ? [other, one] : [one, other])));
}

/** One direction: an arrow, the three probabilities, and the likeliest in words. */
function bar(way, [from, to]) {
  const parts = RELATIONS.map((r) => el("span", { "data-relation": r, vars: { "--part": way[r].toFixed(4) } }));
  const strongest = RELATIONS.reduce((a, b) => (way[b] > way[a] ? b : a));
  const told = RELATIONS.map((r) => `${r} ${share(way[r])}`).join(", ");
  return el(
    "p",
    { class: "verdict-bar", title: `Does “${from}” entail “${to}”?` },
    el("span", { class: "arrow", "aria-hidden": "true" }, way.isReverse ? "←" : "→"),
    spoken(`Does “${from}” entail “${to}”?`),
    el("span", { class: "stack", role: "img", "aria-label": told }, ...parts),
    el("span", { class: "note" }, `${strongest} ${percent(way[strongest])}`),
  );
}

/** Both directions of each pair that was judged: {texts, clusters, ways}. */
function pairsOf(result) {
  const said = (i) => (i === null ? result.greedy : result.samples.find((s) => s.index === i));
  const pairs = new Map();
  for (const comparison of result.nli.judgements) {
    const ends = [said(comparison.premise), said(comparison.hypothesis)];
    const key = ends.map((e) => e.text).sort().join("\u0000");
    const known = pairs.get(key) ?? { texts: ends.map((e) => e.text), clusters: ends.map((e) => e.cluster), ways: [] };
    known.ways.push({ ...comparison, isReverse: known.texts[0] !== ends[0].text });
    pairs.set(key, known);
  }
  return [...pairs.values()];
}
