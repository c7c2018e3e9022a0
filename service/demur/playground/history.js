// What was asked in this session: shown again, or two of it side by side. Nothing of it is kept.
import { byId, el, shown } from "./dom.js";
import { asked, strip } from "./comparison.js";
import { chip } from "./verdict.js";

const MAX_ENTRIES = 50;

/** The session's entries, the newest first. `open` shows one, `compare` two. */
export class History {
  #entries = [];
  #picked = [];
  #current = null;

  constructor({ open, compare }) {
    this.open = open;
    this.compare = compare;
  }

  add(entry) {
    this.#entries = [entry, ...this.#entries].slice(0, MAX_ENTRIES);
    this.#picked = this.#picked.filter((e) => this.#entries.includes(e));
    this.select(entry);
  }

  /** `entry` is the one on the page. */
  select(entry) {
    this.#current = entry;
    this.#show();
  }

  /** The newest entry with the same question, asked with other passages: what to compare `entry` with. */
  counterpart(entry) {
    const { prompt, passages } = entry.question;
    const others = this.#entries.filter((e) => e !== entry && e.question.prompt === prompt);
    return others.find((e) => e.question.passages.join("\u0000") !== passages.join("\u0000")) ?? null;
  }

  #show() {
    shown(byId("history"), this.#entries.length > 1);
    byId("history").replaceChildren(
      el("div", { class: "panel-head" }, el("h2", { id: "history-title" }, "This session"), el("p", { class: "note" }, "Pick two to compare.")),
      el("ol", { class: "entries" }, ...this.#entries.map((e) => this.#row(e))),
    );
  }

  #row(entry) {
    const isCurrent = entry === this.#current;
    const name = el("span", { class: "entry-question" }, entry.question.prompt);
    const show = el("button", { type: "button", class: "entry-open", "aria-current": isCurrent ? "true" : null, on: { click: () => this.open(entry) } }, chip(entry.result.decision), name, el("span", { class: "note" }, asked(entry)));
    const isPicked = this.#picked.includes(entry);
    const pick = el("button", { type: "button", class: "plain small", "aria-pressed": String(isPicked), on: { click: () => this.#pick(entry) } }, "Compare");
    return el("li", { class: "entry" }, show, strip(entry.result), pick);
  }

  #pick(entry) {
    const others = this.#picked.filter((e) => e !== entry);
    this.#picked = this.#picked.includes(entry) ? others : [...others, entry].slice(-2);
    const at = this.#entries.indexOf(entry);
    this.#show();
    byId("history").querySelectorAll(".entry")[at].querySelector("[aria-pressed]").focus();
    if (this.#picked.length === 2) this.compare([...this.#picked].sort((a, b) => this.#entries.indexOf(b) - this.#entries.indexOf(a)));
  }
}
