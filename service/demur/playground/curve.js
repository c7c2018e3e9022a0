// Risk and coverage over the threshold: what answering from a confidence on did, on held-out answers.
import { el, svg } from "./dom.js";
import { percent, rate, share } from "./numbers.js";

const HEIGHT = 100;

/** {node, mark} for `known`: {n, points: [{confidence, coverage, risk}]}. `mark` shows a threshold. */
export function curve({ n, points }) {
  const rising = points.toSorted((a, b) => a.confidence - b.confidence);
  const told = el("p", { class: "note", role: "status" });
  const drawing = svg(
    "svg",
    { class: "curve", viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    line(rising, "coverage"),
    line(rising, "risk"),
  );
  const legend = el("p", { class: "curve-legend" }, el("span", { "data-line": "coverage" }, "questions answered"), el("span", { "data-line": "risk" }, "of those, wrong"));

  const needle = el("span", { class: "tick" });

  function mark(threshold) {
    needle.style.setProperty("--at", threshold);
    const at = rising.find((point) => point.confidence >= threshold);
    const effect = at ? `${percent(at.coverage)} of questions answered, ${rate(at.risk)} of those wrong` : "no question answered";
    told.textContent = `From ${share(threshold)}, on ${n} held-out answers: ${effect}.`;
  }

  return { node: el("div", { class: "curve-place" }, legend, el("div", { class: "curve-frame" }, drawing, needle), told), mark };
}

/** A staircase: up to each confidence, what its point says holds. */
function line(rising, name) {
  let from = 0;
  const path = rising.map(({ confidence, [name]: value }) => {
    const y = (HEIGHT * (1 - value)).toFixed(2);
    const step = `${from.toFixed(2)},${y} ${(100 * confidence).toFixed(2)},${y}`;
    from = 100 * confidence;
    return step;
  });
  return svg("polyline", { points: path.join(" "), "data-line": name, "vector-effect": "non-scaling-stroke" });
}
