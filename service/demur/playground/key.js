// The API key: typed here, kept until the tab is closed, sent to this service only.
import { byId } from "./dom.js";

const PLACE = "demur.key";

/** The header that shows the key; none without one. */
export function bearer() {
  const key = sessionStorage.getItem(PLACE);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

export function hasKey() {
  return Boolean(sessionStorage.getItem(PLACE));
}

/** Ask for the key, saying why. */
export function askForKey(why = "") {
  byId("key-why").textContent = why;
  byId("key").value = sessionStorage.getItem(PLACE) ?? "";
  byId("key-dialog").showModal();
}

/** Wires the dialog; `changed` is called when there is another key. */
export function installKey(changed) {
  const dialog = byId("key-dialog");
  byId("key-open").addEventListener("click", () => askForKey());
  byId("key-forget").addEventListener("click", () => keep(dialog, "", changed));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keep(dialog, byId("key").value.trim(), changed);
  });
  show();
}

function keep(dialog, key, changed) {
  if (key) sessionStorage.setItem(PLACE, key);
  else sessionStorage.removeItem(PLACE);
  byId("key").value = "";
  dialog.close();
  show();
  changed();
}

function show() {
  byId("key-open").dataset.has = String(hasKey());
  byId("key-state").textContent = hasKey() ? "API key set" : "API key";
}
