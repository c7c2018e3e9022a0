// The question: what is typed, what is sent, and the link that brings it back.
import { byId, el, shown } from "./dom.js";

const QUALITIES = ["fast", "balanced", "thorough"];
const MAX_PASSAGES = 32;
const INCLUDE = ["clusters", "samples", "token_logprobs", "nli", "timings"];

/** What is typed: {prompt, quality, passages, retriever}. Blank passages are left out; a retriever is named, or null. */
export function read() {
  return {
    prompt: byId("prompt").value,
    quality: document.querySelector("input[name=quality]:checked").value,
    passages: passageFields().map((field) => field.value).filter((text) => text.trim()),
    retriever: byId("retriever").value || null,
  };
}

export function write({ prompt, quality, passages, retriever }) {
  byId("prompt").value = prompt;
  grow(byId("prompt"));
  if (QUALITIES.includes(quality)) document.querySelector(`input[name=quality][value=${quality}]`).checked = true;
  if (retriever) offerRetrievers([retriever]);
  byId("retriever").value = retriever ?? "";
  byId("passages").replaceChildren();
  passages.forEach((text) => addPassage(text));
}

/** Retrievers to choose from; a promise about one of them holds for its passages only. */
export function offerRetrievers(names) {
  const select = byId("retriever");
  const known = [...select.options].map((option) => option.value);
  select.append(...names.filter((name) => !known.includes(name)).map((name) => el("option", { value: name }, name)));
  shown(byId("retriever-place"), select.options.length > 1);
}

/** How far retrieval has come: passages are what it brought. */
export function retrievalOf(question) {
  return { available: true, attempt: question.passages.length ? 1 : 0, max_attempts: 1 };
}

/** The least request that asks `question`: what people copy. */
export function request(question) {
  const { attempt } = retrievalOf(question);
  const retrieval = { ...(attempt ? { attempt } : {}), ...(question.retriever ? { id: question.retriever } : {}) };
  return {
    prompt: question.prompt,
    quality: question.quality,
    ...(attempt ? { context: question.passages.map((text) => ({ text })) } : {}),
    ...(Object.keys(retrieval).length ? { retrieval } : {}),
    ...(question.policy ? { policy: question.policy } : {}),
  };
}

/** The same with everything that the page shows; `isFresh` has it drawn anew. */
export function fullRequest(question, isFresh) {
  return { ...request(question), include: INCLUDE, ...(isFresh ? { cache: { mode: "refresh" } } : {}) };
}

/** The part of the address after `#`. It never holds the key. */
export function toHash({ prompt, quality, passages, retriever }) {
  const parameters = new URLSearchParams({ q: prompt, quality, ...(retriever ? { retriever } : {}) });
  passages.forEach((text) => parameters.append("passage", text));
  return `#${parameters}`;
}

/** The question in such a part; null where there is none. */
export function fromHash(hash) {
  const parameters = new URLSearchParams(hash.slice(1));
  const prompt = parameters.get("q");
  if (prompt === null) return null;
  const passages = parameters.getAll("passage").slice(0, MAX_PASSAGES);
  return { prompt, quality: parameters.get("quality"), passages, retriever: parameters.get("retriever") };
}

/** One more card for a passage; returns its field. */
export function addPassage(text = "") {
  const list = byId("passages");
  const field = el("textarea", { rows: 2, maxlength: 8000, placeholder: "Paste what you found" });
  const remove = el("button", { type: "button", class: "plain small", on: { click: () => dropPassage(card) } }, "Remove");
  const label = el("label", {}, el("span", { class: "passage-name" }), field);
  const card = el("li", { class: "passage" }, label, remove);
  field.value = text;
  field.addEventListener("input", () => grow(field));
  list.append(card);
  grow(field);
  number();
  return field;
}

/** As high as its text. */
export function grow(field) {
  field.style.setProperty("height", "auto");
  field.style.setProperty("height", `${Math.min(field.scrollHeight + 2, 320)}px`);
}

function dropPassage(card) {
  const next = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  number();
  (next?.querySelector("textarea") ?? byId("add-passage")).focus();
}

function number() {
  const cards = [...byId("passages").children];
  cards.forEach((card, i) => {
    card.querySelector(".passage-name").textContent = `Passage ${i + 1}`;
    card.querySelector("button").setAttribute("aria-label", `Remove passage ${i + 1}`);
  });
  byId("add-passage").disabled = cards.length >= MAX_PASSAGES;
}

function passageFields() {
  return [...byId("passages").querySelectorAll("textarea")];
}
