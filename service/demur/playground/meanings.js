// Samples land, and fall into meanings. A column is as wide as its mass.
import { byId, el, shown, spoken } from "./dom.js";
import { showDetail } from "./entailment.js";
import { gliding } from "./motion.js";
import { percent, share } from "./numbers.js";

/** The samples of one answer while they arrive, and the meanings that they form. */
export class Meanings {
  #landing = byId("landing");
  #columns = byId("columns");
  #detail = byId("detail");
  #pills = new Map(); // by index of the sample, or "greedy"
  #slots = [];
  #byMeaning = new Map();
  #open = null;
  #result = null;

  /** `n` samples are being drawn. */
  start(n) {
    this.#reset();
    this.#slots = Array.from({ length: n }, () => el("span", { class: "slot" }));
    this.#landing.replaceChildren(...this.#slots);
  }

  /** A sample is there. */
  land(sample) {
    const pill = this.#pillOf(sample);
    gliding([pill], () => {
      const slot = this.#slots.shift();
      if (slot) slot.replaceWith(pill);
      else this.#landing.append(pill);
    });
  }

  /** The meanings so far: `meaningOf[i]` is that of sample i, null while it is not there. */
  assign(meaningOf) {
    const members = grouped([...meaningOf.entries()].filter(([index, id]) => id !== null && this.#pills.has(index)));
    const total = [...members.values()].flat().length;
    const columns = [...members].map(([id, indices]) => ({
      id,
      text: commonest(indices.map((i) => this.#pills.get(i).dataset.text)),
      size: indices.length,
      total,
      weight: indices.length / total,
      keys: indices,
    }));
    this.#place(columns);
  }

  /** All is known. */
  settle(result) {
    const isNew = this.#pills.size === 0;
    if (isNew) this.#reset();
    this.#result = result;
    result.samples.forEach((sample) => this.#pillOf(sample));
    if (result.greedy) this.#pillOf(result.greedy, "greedy");
    const n = result.sampling.completed;
    const home = answerMeaning(result);
    const columns = result.clusters.map((c) => ({
      id: c.index,
      text: c.text,
      size: c.size,
      total: n,
      weight: c.mass ?? c.size / n,
      mass: c.mass,
      keys: [...c.sample_indices, ...(result.greedy?.cluster === c.index ? ["greedy"] : [])],
      isHome: c.index === home,
      isNonAnswer: c.non_answer,
    }));
    this.#slots.forEach((slot) => slot.remove());
    this.#place(columns);
    const isAlone = result.greedy && result.greedy.cluster === null;
    this.#landing.replaceChildren(...(isAlone ? [el("span", { class: "note" }, n ? "No sample means the same:" : "No samples were drawn:"), this.#pills.get("greedy")] : []));
  }

  #reset() {
    for (const map of [this.#pills, this.#byMeaning]) map.clear();
    this.#slots = [];
    this.#open = null;
    this.#result = null;
    for (const node of [this.#landing, this.#columns, this.#detail]) node.replaceChildren();
    shown(this.#detail, false);
  }

  #pillOf(sample, key = sample.index) {
    if (!this.#pills.has(key)) {
      const mark = key === "greedy" ? [el("abbr", { title: "The answer at temperature 0" }, "T=0"), " "] : [];
      const pill = el("span", { class: key === "greedy" ? "pill greedy" : "pill", title: sample.text }, ...mark, el("span", { class: "pill-text" }, sample.text || "(empty)"));
      pill.dataset.text = sample.text;
      this.#pills.set(key, pill);
    }
    return this.#pills.get(key);
  }

  #place(columns) {
    columns.sort((a, b) => b.weight - a.weight || b.size - a.size || a.id - b.id);
    gliding([...this.#pills.values()], () => {
      const kept = columns.map((column) => this.#filled(column));
      this.#columns.replaceChildren(...kept);
    });
  }

  #filled(column) {
    const node = this.#byMeaning.get(column.id) ?? this.#column(column.id);
    const name = column.text || "(empty)";
    node.style.setProperty("--weight", column.weight.toFixed(4));
    node.dataset.home = String(Boolean(column.isHome));
    node.dataset.nonAnswer = String(Boolean(column.isNonAnswer));
    const button = node.querySelector("button");
    button.disabled = this.#result === null;
    button.querySelector(".column-head").replaceChildren(
      el("span", { class: "column-text" }, name),
      el("span", { class: "column-share" }, el("span", { class: "column-count" }, `${column.size} of ${column.total} · `), percent(column.weight)),
      spoken(`, ${described(column)}`),
    );
    button.title = `${name}: ${described(column)}`;
    button.querySelector(".pills").replaceChildren(...column.keys.map((key) => this.#pills.get(key)));
    return node;
  }

  #column(id) {
    const head = el("span", { class: "column-head" });
    const pills = el("span", { class: "pills", "aria-hidden": "true" });
    const open = () => this.#toggle(id);
    const button = el("button", { type: "button", class: "column", "aria-expanded": "false", "aria-controls": "detail", on: { click: open } }, head, pills);
    const node = el("li", { class: "column-place" }, button);
    this.#byMeaning.set(id, node);
    return node;
  }

  #toggle(id) {
    this.#open = this.#open === id ? null : id;
    for (const [other, node] of this.#byMeaning) {
      node.querySelector("button").setAttribute("aria-expanded", String(other === this.#open));
    }
    shown(this.#detail, this.#open !== null);
    if (this.#open !== null) showDetail(this.#detail, this.#result, this.#open);
  }
}

/** The cluster of the answer that was given; null where no sample means the same. */
export function answerMeaning(result) {
  if (result.greedy && result.greedy.text === result.answer) return result.greedy.cluster;
  return result.samples?.find((s) => s.text === result.answer)?.cluster ?? null;
}

function described({ size, mass, isHome, isNonAnswer }) {
  const parts = [`${size} ${size === 1 ? "sample" : "samples"}`];
  if (mass !== null && mass !== undefined) parts.push(`probability mass ${share(mass)}`);
  if (isHome) parts.push("the answer");
  if (isNonAnswer) parts.push("no answer in it");
  return parts.join(", ");
}

function grouped(assignments) {
  const members = new Map();
  for (const [index, meaning] of assignments) members.set(meaning, [...(members.get(meaning) ?? []), index]);
  return members;
}

function commonest(texts) {
  const counts = new Map();
  texts.forEach((text) => counts.set(text, (counts.get(text) ?? 0) + 1));
  return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1))[0][0];
}
