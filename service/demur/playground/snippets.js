// The same question from elsewhere.
import { el, fill } from "./dom.js";
import { hasKey } from "./key.js";
import { request } from "./question.js";
import { address } from "./service.js";

const FORMS = { curl: ["curl", asCurl], python: ["Python", asPython], openai: ["OpenAI client", asOpenAI] };
let chosen = "curl";

/** Fills `root` with `question` as code, to copy. */
export function showSnippets(root, question, model) {
  const code = el("code", {});
  const state = el("span", { class: "note", role: "status" });
  const choices = Object.entries(FORMS).map(([id, [name]]) => {
    const input = el("input", { type: "radio", name: "snippet", value: id, on: { change: () => choose(id) } });
    input.checked = id === chosen;
    return el("label", {}, input, el("span", {}, name));
  });

  function choose(id) {
    chosen = id;
    code.textContent = FORMS[id][1](request(question), model);
    state.textContent = "";
  }

  async function copy() {
    state.textContent = (await copied(code.textContent)) ? "Copied." : "The browser allows no copying here: select it.";
  }

  fill(
    root,
    el("div", { class: "panel-head" }, el("h2", { id: "snippets-title" }, "Ask it from elsewhere"), state),
    el(
      "div",
      { class: "controls" },
      el("fieldset", { class: "segments" }, el("legend", { class: "spoken" }, "Language"), ...choices),
      el("span", { class: "grow" }),
      el("button", { type: "button", class: "plain", on: { click: copy } }, "Copy"),
    ),
    el("pre", { tabindex: 0, "aria-label": "Code" }, code),
  );
  choose(chosen);
}

/** Whether `text` is on the clipboard; browsers give pages without TLS none, but on this machine. */
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function asCurl(body) {
  const key = hasKey() ? ` \\\n  -H "Authorization: Bearer $DEMUR_API_KEY"` : "";
  const data = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl -s ${address("v1/answer")} \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${data}'`;
}

function asPython({ prompt, ...options }) {
  const named = Object.entries(options).map(([name, value]) => `, ${name}=${literal(value)}`);
  return [
    "from demur_client import Demur  # the key: DEMUR_API_KEY",
    "",
    `with Demur(base_url=${literal(base())}) as demur:`,
    `    result = demur.answer(${literal(prompt)}${named.join("")})`,
    "    print(result.decision, result.answer, result.confidence)",
  ].join("\n");
}

function asOpenAI({ prompt, ...options }, model) {
  return [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${literal(`${base()}/v1`)}, api_key="the key, or anything where there is none")`,
    "completion = client.chat.completions.create(",
    `    model=${literal(model ?? "default")},`,
    `    messages=[{"role": "user", "content": ${literal(prompt)}}],`,
    `    extra_body={"uncertainty": ${literal(options)}},`,
    ")",
    'print(completion.choices[0].message.content, completion.model_extra["uncertainty"]["decision"])',
  ].join("\n");
}

const base = () => address("").href.replace(/\/$/, "");

/** A value of JSON, in Python. */
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${literal(v)}`).join(", ")}}`;
}
