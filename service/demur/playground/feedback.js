// Was this right? Labels are what calibration is made of.
import { el, fill } from "./dom.js";
import { counted } from "./numbers.js";
import { giveFeedback, Trouble } from "./service.js";

const LABELS = [["correct", "Right"], ["partial", "Partly"], ["incorrect", "Wrong"]];
let nGiven = 0;

/** Fills `root` with buttons about `entry`, and remembers its label there. */
export function showFeedback(root, entry) {
  const state = el("p", { class: "note", role: "status" }, before(entry));
  const buttons = LABELS.map(([label, word]) =>
    el("button", { type: "button", class: "plain", "aria-pressed": String(entry.label === label), disabled: !entry.result.stored, on: { click: () => give(label) } }, word),
  );

  async function give(label) {
    try {
      await giveFeedback(entry.result.id, label);
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      state.textContent = `Not kept. ${error.problem.title}: ${error.message}`;
      state.dataset.failed = "";
      return;
    }
    nGiven += entry.label ? 0 : 1;
    entry.label = label;
    delete state.dataset.failed;
    state.textContent = `Kept: ${counted(nGiven, "label")} in this session.`;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(LABELS[i][0] === label)));
  }

  fill(
    root,
    el("h2", { id: "feedback-title" }, "Was this right?"),
    el("div", { class: "controls" }, ...buttons),
    state,
  );
}

function before({ result, label }) {
  if (!result.stored) return "This answer was not kept, so that nothing can be said about it.";
  return label ? "You said so." : "A hundred labels and more make a calibration.";
}
