// Copying text.
// Promises: resolves to true when the text is in the clipboard, false when every way was refused
// (a page that is not over https or loopback has no clipboard); then the caller shows the text
// selected, ready for Ctrl+C.

import { el } from "./dom.js";

/** Copy text by whatever way is allowed. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** Select all text of an element. */
export function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

function copyBySelection(text) {
  const field = el("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  const focused = document.activeElement;
  field.value = text;
  // Inside an open dialog, since everything outside it can have no focus.
  (focused?.closest("dialog") || document.body).append(field);
  field.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    done = false;
  }
  field.remove();
  focused?.focus?.({ preventScroll: true });
  return done;
}
