// The answer's words, shaded by how sure the model was of each token.
import { el } from "./dom.js";
import { chance } from "./numbers.js";

/** The answer of `result`: tokens that can be walked with the arrow keys, or plain text where they are not known. */
export function answerText(result) {
  if (result.answer === null) return el("p", { class: "answer none" }, "No answer was sent.");
  const said = [result.greedy, ...(result.samples ?? [])].find((s) => s?.tokens && s.text === result.answer);
  const pieces = said ? piecesOf(said.tokens, said.text) : null;
  if (!pieces) return el("p", { class: "answer" }, result.answer || "(nothing)");
  return shaded(pieces, "answer");
}

/** A sample's text, shaded in a line of its own. */
export function sampleText(sample) {
  const pieces = sample.tokens ? piecesOf(sample.tokens, sample.text) : null;
  return pieces ? el("span", {}, ...spaced(pieces, pieces.map(token))) : el("span", {}, sample.text || "(nothing)");
}

/** [{text, logprob}] whose texts join to `text`, the end of sequence left out; null where they do not. Vocabularies
 * write blanks and bytes in their own ways. */
export function piecesOf(tokens, text) {
  for (const spell of [plain, sentencePiece, byteLevel]) {
    const pieces = fitted(spell(tokens.map((t) => t.token)), tokens, text);
    if (pieces) return pieces;
  }
  return null;
}

function shaded(pieces, name) {
  const parts = pieces.map(token);
  const least = pieces.reduce((a, b) => (b.logprob < a.logprob ? b : a), pieces[0]);
  const readout = el("p", { class: "readout", role: "status" }, `least sure of ${told(least)}`);
  const line = el("p", { class: name, tabindex: 0, role: "group", "aria-label": "Answer; arrow keys walk its tokens" }, ...spaced(pieces, parts));
  let at = -1;
  const show = (i) => {
    parts[at]?.removeAttribute("data-current");
    at = i;
    parts[at].dataset.current = "";
    readout.textContent = told(pieces[at]);
  };
  line.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (step) show(Math.max(0, Math.min(parts.length - 1, at + step)));
  });
  parts.forEach((part, i) => part.addEventListener("pointerenter", () => show(i)));
  return el("div", { class: "shaded" }, line, readout);
}

function token({ text, logprob }) {
  const p = Math.exp(logprob);
  return el("span", { class: p < 0.5 ? "token unsure" : "token", title: chance(p), vars: { "--p": p.toFixed(3) } }, text.trimStart());
}

/** The blanks before a token are nobody's doubt. */
const spaced = (pieces, parts) => parts.flatMap((part, i) => [pieces[i].text.match(/^\s*/)[0], part]);

const told = ({ text, logprob }) => `“${text.trim() || "blank"}”, probability ${chance(Math.exp(logprob))}`;

/** Tokens that spell `text`, up to blanks around it; what comes after it ended the sequence. */
function fitted(spelt, tokens, text) {
  const pieces = [];
  let rest = text.trim();
  spelt.forEach((part, i) => {
    const wanted = pieces.length ? part : part.trimStart();
    if (rest && wanted && rest.startsWith(wanted)) {
      pieces.push({ text: wanted, logprob: tokens[i].logprob });
      rest = rest.slice(wanted.length);
    } else if (rest && wanted.trim()) {
      rest = null;
    }
  });
  return rest === "" && pieces.length ? pieces : null;
}

const plain = (tokens) => tokens;

const sentencePiece = (tokens) => tokens.map((t) => t.replaceAll("▁", " "));

/** Byte-level vocabularies (GPT-2's and most since) write every byte as a printable character. */
function byteLevel(tokens) {
  const decoder = new TextDecoder();
  return tokens.map((t) => decoder.decode(Uint8Array.from(t, (c) => BYTES.get(c) ?? 0x3f), { stream: true }));
}

const BYTES = new Map(byteAlphabet());

function byteAlphabet() {
  const isPrintable = (b) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  const hidden = [...Array(256).keys()].filter((b) => !isPrintable(b));
  return [...Array(256).keys()].map((b) => [String.fromCodePoint(isPrintable(b) ? b : 256 + hidden.indexOf(b)), b]);
}
