// Light, dark, or as the system has it.
import { byId } from "./dom.js";

const PLACE = "demur.theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };

export function installTheme() {
  const button = byId("theme");
  button.addEventListener("click", () => set(NEXT[document.documentElement.dataset.theme]));
  const kept = document.documentElement.dataset.theme; // scheme.js has read it
  set(kept in NAMES ? kept : "auto");

  function set(theme) {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(PLACE, theme);
    byId("theme-state").textContent = NAMES[theme];
    button.setAttribute("aria-label", `Colours: ${NAMES[theme]}`);
  }
}
