// The words for verdicts, reasons and reservations, which the terminal uses as well.
import { address, Trouble } from "./service.js";

const reply = await fetch(address("playground/words.json"));
if (!reply.ok) throw new Trouble({ title: "The page is not complete", detail: "playground/words.json is missing" });

export const { verdicts, reasons, degraded } = await reply.json();

/** A verdict, reason or reservation of a newer service is shown by its name. */
export const verdictWord = (verdict) => verdicts[verdict]?.word ?? verdict;
export const reasonWords = (reason) => reasons[reason] ?? reason;
export const degradedWords = (name) => degraded[name] ?? name;
