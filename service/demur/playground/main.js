// The page: a question goes out, evidence comes in, and each part shows its own.
import { byId, el, shown } from "./dom.js";
import { showComparison } from "./comparison.js";
import { showFeedback } from "./feedback.js";
import { showGauges } from "./gauges.js";
import { History } from "./history.js";
import { askForKey, installKey } from "./key.js";
import { Meanings } from "./meanings.js";
import { capital, counted, nats } from "./numbers.js";
import { decide } from "./policy.js";
import { addPassage, fromHash, fullRequest, grow, offerRetrievers, read, retrievalOf, toHash, write } from "./question.js";
import { ask, curves, retrievers, Trouble, version } from "./service.js";
import { signalsOf } from "./signals.js";
import { showSnippets } from "./snippets.js";
import { installTheme } from "./theme.js";
import { showThresholds } from "./thresholds.js";
import { showTiming } from "./timing.js";
import { showPending, showVerdict } from "./verdict.js";

const SAMPLES = { fast: 5, balanced: 10, thorough: 20 };
const EXAMPLES = ["What is the capital of France?", "Who composed The Four Seasons?", "What is the capital of Mongolia?", "How do I boil an egg?"];

const meanings = new Meanings();
const history = new History({ open: show, compare });
let model = null;
let underWay = null; // the AbortController of the question that is being asked

async function submit(question, { isFresh = false } = {}) {
  underWay?.abort();
  const mine = new AbortController();
  underWay = mine;
  begin(question);
  try {
    const { result, isStreamed } = await ask(fullRequest(question, isFresh), hearing(question), mine.signal);
    const entry = { question, result, isStreamed, label: null };
    history.add(entry);
    await show(entry);
  } catch (error) {
    if (mine !== underWay) return; // a later question took its place
    fail(error, mine.signal.aborted);
  } finally {
    if (mine === underWay) end();
  }
}

function begin(question) {
  window.history.replaceState(null, "", toHash(question));
  shown(byId("trouble"), false);
  shown(byId("stop"), true);
  shown(byId("result"), true).setAttribute("aria-busy", "true");
  shown(byId("settled"), false);
  byId("meanings-note").textContent = "";
  tell("no sample yet");
  meanings.start(SAMPLES[question.quality]);
}

function end() {
  underWay = null;
  byId("result").removeAttribute("aria-busy");
  shown(byId("stop"), false);
}

/** Shows what is told while an answer is made. */
function hearing(question) {
  let n = SAMPLES[question.quality];
  let landed = 0;
  return (name, data) => {
    if (name === "start") {
      n = data.n;
      meanings.start(n);
    } else if (name === "sample") {
      landed += 1;
      meanings.land(data);
      tell(`${landed} of ${counted(n, "sample")}`);
    } else if (name === "progress") {
      meanings.assign(data.assignments);
      tell(`${data.completed} of ${counted(n, "sample")}, ${counted(data.num_clusters, "meaning")} so far, ${nats(data.semantic_entropy)}`);
    }
  };
}

async function show(entry) {
  const { result, question, isStreamed } = entry;
  tell(null);
  shown(byId("trouble"), false);
  shown(byId("result"), true);
  shown(byId("settled"), true);
  shown(byId("comparison"), false);
  history.select(entry);
  byId("meanings-note").textContent = noteOn(result, isStreamed);
  const signals = signalsOf(result, question);
  const served = { policy: result.policy, retrieval: retrievalOf(question) };
  decided(entry, signals, served);
  meanings.settle(result);
  showFeedback(byId("feedback"), entry);
  showTiming(byId("timing"), entry);
  showSnippets(byId("snippets"), question, model);
  const other = history.counterpart(entry);
  if (other) compare(question.passages.length ? [other, entry] : [entry, other]);
  await showSliders(entry, signals, served);
}

/** Shows the verdict under `set` thresholds; returns it. */
function decided(entry, signals, set) {
  const { result, question } = entry;
  const isOwn = differs(set, { policy: result.policy, retrieval: retrievalOf(question) });
  const now = { ...(isOwn ? decide(signals, set.policy, set.retrieval) : result), ...set, isOwn };
  showVerdict(byId("verdict"), entry, signals, now, {
    lookUp: () => addPassage().focus(),
    askAgain: () => submit(question, { isFresh: true }),
  });
  showGauges(byId("gauges"), entry, now);
  return now;
}

async function showSliders(entry, signals, served) {
  const { result, question } = entry;
  const root = byId("thresholds");
  const options = {
    moved: (set) => decided(entry, signals, set),
    askAgain: (policy) => submit({ ...question, policy: own(policy) }),
    known: null,
  };
  showThresholds(root, entry, signals, served, options);
  if (!result.calibration) return;
  const stage = question.passages.length ? "with_context" : "closed_book";
  const known = (await curves(result.calibration.id))?.find((c) => c.stage === stage && c.points.length) ?? null;
  if (known) showThresholds(root, entry, signals, served, { ...options, known });
}

function compare(entries) {
  showComparison(shown(byId("comparison"), true), entries);
}

/** Thresholds as a request has them. */
const own = ({ name: _name, ...thresholds }) => thresholds;

function differs(a, b) {
  return JSON.stringify([own(a.policy), a.retrieval]) !== JSON.stringify([own(b.policy), b.retrieval]);
}

function noteOn({ clusters, sampling }, isStreamed) {
  const hasMass = clusters.every((c) => c.mass !== null);
  const width = `A column is as wide as its ${hasMass ? "probability mass" : "share of the samples"}. Open one for the scores behind it.`;
  const missing = sampling.failed ? ` ${counted(sampling.failed, "sample")} of ${sampling.requested} did not arrive.` : "";
  return width + missing + (isStreamed ? "" : " This service answered in one piece: it does not tell samples as they land.");
}

function fail(error, isStopped) {
  tell(null);
  shown(byId("result"), false);
  if (isStopped) return;
  const problem = error instanceof Trouble ? error.problem : { title: "The connection broke off", detail: "Ask again." };
  const fields = problem.errors?.map((e) => el("li", {}, `${e.pointer || "the request"}: ${e.detail}`)) ?? [];
  const waiting = problem.retry_after_s ? ` Try again in ${Math.ceil(problem.retry_after_s)} s.` : "";
  byId("trouble").replaceChildren(el("strong", {}, problem.title), el("p", {}, `${problem.detail ?? ""}${waiting}`), el("ul", {}, ...fields));
  shown(byId("trouble"), true);
  if (problem.status === 401 || problem.status === 403) askForKey(problem.detail);
}

/** Says how far the answer is, to those who see it and to those who hear it; null when it is there. */
function tell(text) {
  byId("progress").textContent = text ?? "";
  if (text !== null) showPending(byId("verdict"), capital(text));
}

async function introduce() {
  try {
    const known = await version();
    model = known.model;
    offerRetrievers(await retrievers());
    byId("running").textContent = `${known.model}, judged by ${known.nli_model ?? "exact match"}`;
  } catch (error) {
    byId("running").textContent = error.message;
  }
}

function install() {
  installTheme();
  installKey(introduce);
  const form = byId("ask");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(read());
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  byId("prompt").addEventListener("input", () => grow(byId("prompt")));
  byId("add-passage").addEventListener("click", () => addPassage().focus());
  byId("stop").addEventListener("click", () => underWay?.abort());
  byId("examples").append(...EXAMPLES.map((text) => el("button", { type: "button", class: "link", on: { click: () => example(text) } }, text)));
  window.addEventListener("hashchange", recall);
  recall();
  introduce();
  if (!byId("prompt").value) byId("prompt").focus();
}

function example(prompt) {
  write({ ...read(), prompt, passages: [] });
  byId("ask").requestSubmit();
}

/** A link brings a question back; nothing is asked until somebody says so. */
function recall() {
  const question = fromHash(location.hash);
  if (question) write(question);
}

install();
