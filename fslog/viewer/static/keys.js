// Keyboard shortcuts of the page.
// Guarantees: no shortcut applies while typing, in a dialog, or together with Ctrl, Alt or Meta;
// every action is also available without the keyboard.

import { VIEWS, go, hasPlan, read } from "./address.js";
import { hasSingleKeys, showHelp } from "./help.js";

/** Start listening for keys. */
export function listen(live, stream) {
  const acts = {
    "/": () => search(live),
    j: () => inLive(() => live.step(1)),
    k: () => inLive(() => live.step(-1)),
    ArrowDown: () => inLive(() => live.step(1), true),
    ArrowUp: () => inLive(() => live.step(-1), true),
    Enter: () => inLive(() => live.openActive(), true),
    p: () => inLive(() => live.togglePause()),
    "?": () => showHelp(stream.hello),
  };
  VIEWS.forEach((view, index) => (acts[index + 1] = () => change(view, stream.hello)));
  document.addEventListener("keydown", (event) => press(event, acts, live));
}

function press(event, acts, live) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    leave(event, live);
  } else if (
    !isTyping(event.target) &&
    !isOwn(event) &&
    (event.key.length > 1 || hasSingleKeys())
  ) {
    if (acts[event.key]?.() !== undefined) event.preventDefault();
  }
}

function leave(event, live) {
  if (isTyping(event.target)) {
    event.preventDefault(); // the browser would clear the field
    event.target.blur();
    if (read().view === "live") live.rows.focus();
    // An empty list is hidden and cannot have the focus.
    if (document.activeElement === document.body) document.getElementById("main").focus();
  } else if (read().view === "live" && live.closeEntry()) event.preventDefault();
}

function change(view, hello) {
  if (view !== "plan" || hasPlan(hello)) go({ view, id: "" });
}

function search(live) {
  const field = document.querySelector("main #filter-q");
  if (!field) return inLive(() => live.search());
  field.focus();
  field.select();
  return true;
}

// Run a shortcut of the live view; keys that scroll or click are not taken from other views.
function inLive(act, isLiveOnly = false) {
  if (read().view !== "live") {
    if (isLiveOnly) return undefined;
    go({ view: "live", id: "" });
  }
  act();
  return true;
}

function isTyping(target) {
  return target.matches?.("input:not([type=checkbox]), textarea, select");
}

function isOwn(event) {
  const own = event.target.closest?.("button, a, summary, pre, [role=tab], .detail");
  return Boolean(own) && ["Enter", "ArrowUp", "ArrowDown"].includes(event.key);
}
