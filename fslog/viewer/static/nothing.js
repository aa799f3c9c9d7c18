// What stands where a filter leaves nothing to show.
// Promises: one press shows everything again.

import { go } from "./address.js";
import { button, el } from "./dom.js";

/** Say that nothing of what is kept passes the filter. */
export function noneFound() {
  const words = "What is kept has none of this kind. New ones appear here as they arrive.";
  return block("No event matches", words);
}

/** Say why the server refuses what it was asked for. */
export function refused(reason) {
  return block("This filter is not understood", `The server says: ${reason}.`);
}

function block(title, words) {
  const drop = button("Clear the filter", () => go({ filter: {} }), { class: "primary" });
  return el("section", { class: "setup" }, el("h2", {}, title), el("p", {}, words), drop);
}
