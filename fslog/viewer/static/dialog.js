// Modal dialogs.
// Guarantees: Escape closes the dialog, and the focus returns (the browser's own dialog does both).

import { button, el } from "./dom.js";
import { icon } from "./icons.js";

/** Show a dialog; resolve to the value with which it was closed. */
export function showDialog(title, ...children) {
  const close = button("Close", () => dialog.close(""), { class: "quiet close" }, icon("close"));
  const heading = el("h2", { id: "dialog-title" }, title);
  const dialog = el(
    "dialog",
    { "aria-labelledby": heading.id },
    el("header", {}, heading, close),
    children,
  );
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Ask for confirmation of an action that cannot be undone. */
export async function confirm(title, text, yes) {
  const answer = (value) => (event) => event.currentTarget.closest("dialog").close(value);
  const buttons = el(
    "p",
    { class: "buttons" },
    button("Cancel", answer(""), { autofocus: true }),
    button(yes, answer("yes"), { class: "danger" }),
  );
  return (await showDialog(title, el("p", {}, text), buttons)) === "yes";
}
