// The service that the page came from.
import { bearer } from "./key.js";
import { events } from "./events.js";

const ROOT = new URL(".", document.baseURI);

/** A problem (RFC 9457) that the service answered with, or the network made. */
export class Trouble extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

export const address = (path) => new URL(path, ROOT);

/** Answers the request `body`. `hear(name, data)` is told each event while it is made: start, sample, progress.
 * Returns {result, isStreamed}. Throws Trouble. */
export async function ask(body, hear, signal) {
  const response = await call("v1/answer", { body, accept: "text/event-stream, application/json;q=0.5", signal });
  if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
    return { result: await response.json(), isStreamed: false };
  }
  for await (const { name, data } of events(response.body)) {
    const told = data === "" ? null : JSON.parse(data);
    if (name === "error") throw new Trouble(told);
    if (name === "result") return { result: told, isStreamed: true };
    hear(name, told);
  }
  throw new Trouble({ title: "The connection broke off", detail: "The answer did not arrive. Ask again." });
}

/** Says whether an answer was right: correct, partial or incorrect. Throws Trouble. */
export async function giveFeedback(answerId, label) {
  return (await call("v1/feedback", { body: { answer_id: answerId, label } })).json();
}

/** What runs here. Throws Trouble. */
export async function version() {
  return (await call("version")).json();
}

/** What the calibration `id` did on held-out answers at each threshold: its risk-coverage curves, by stage; null where
 * this service does not tell. Throws Trouble for anything else. */
export async function curves(id) {
  return (await policies()).find((policy) => policy.calibration?.id === id)?.curves ?? null;
}

/** The retrievers that promises were made about. Throws Trouble. */
export async function retrievers() {
  const named = (await policies()).flatMap((policy) => policy.thresholds.map((t) => t.retrieval_id));
  return [...new Set(named.filter(Boolean))];
}

/** None where this service, or this key, does not tell. */
async function policies() {
  try {
    return (await (await call("v1/policies")).json()).data;
  } catch (error) {
    if ([401, 403, 404].includes(error.problem?.status)) return [];
    throw error;
  }
}

async function call(path, { body, accept = "application/json", signal } = {}) {
  const headers = { Accept: accept, ...bearer(), ...(body ? { "Content-Type": "application/json" } : {}) };
  const sent = body ? JSON.stringify(body) : undefined;
  const response = await reached(address(path), { method: body ? "POST" : "GET", headers, body: sent, signal });
  if (!response.ok) throw new Trouble(await problemOf(response));
  return response;
}

async function reached(url, request) {
  try {
    return await fetch(url, { ...request, credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble({ title: "The service cannot be reached", detail: "Is it running? Then ask again." });
  }
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return { status: response.status, ...JSON.parse(text) };
  } catch {
    return { status: response.status, title: `Status ${response.status}`, detail: text.slice(0, 300) };
  }
}
