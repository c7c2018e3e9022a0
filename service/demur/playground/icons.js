// The verdicts' icons: three shapes, so that colour is not needed to tell them apart.
import { svg } from "./dom.js";

const SHAPES = {
  pending: [],
  answer: [["path", { d: "M7.5 12.5l3 3 6-7" }]],
  retrieve: [["circle", { cx: 11, cy: 11, r: 4 }], ["path", { d: "M14 14l3.5 3.5" }]],
  abstain: [["path", { d: "M7.5 12h9" }]],
};

export function icon(verdict) {
  const shapes = SHAPES[verdict] ?? SHAPES.abstain;
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    svg("circle", { cx: 12, cy: 12, r: 10.5, class: "disc" }),
    ...shapes.map(([tag, attributes]) => svg(tag, attributes)),
  );
}
