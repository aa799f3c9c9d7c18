// The help dialog: keyboard shortcuts, and how to send events here.
// Guarantees: single-key shortcuts can be switched off, since speech input may trigger them; the
// browser remembers the choice if it allows storage.

import { hasPlan } from "./address.js";
import { showDialog } from "./dialog.js";
import { el } from "./dom.js";
import { tabbedCode } from "./codebox.js";
import { setupLines } from "./setup.js";

const KEYS = [
  [["/"], "search"],
  [["j", "↓"], "next event"],
  [["k", "↑"], "previous event"],
  [["Enter"], "open the event"],
  [["Escape"], "close the event, or leave the search field"],
  [["p"], "pause or resume"],
  [["1", "2", "3", "4", "5"], "Live, Overview, Sessions, Requests, Failures"],
  [["?"], "this help"],
];
const PLAN_KEY = [["6"], "Plan"];
const STORED = "fslog.single-keys";

/** Return whether single-key shortcuts are on. */
export function hasSingleKeys() {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
}

/** Show the help dialog. */
export function showHelp(hello) {
  const keys = hasPlan(hello) ? [...KEYS, PLAN_KEY] : KEYS;
  const rows = keys.map(([keys, does]) => {
    const names = keys.flatMap((key) => [el("kbd", {}, key), " "]);
    return el("tr", {}, el("th", { scope: "row" }, names), el("td", {}, does));
  });
  const box = el("input", {
    type: "checkbox",
    id: "single-keys",
    on: { change: (event) => store(event.target.checked) },
  });
  box.checked = hasSingleKeys();
  const endpoint = hello?.endpoint || location.origin;
  showDialog(
    "Help",
    el("table", { class: "keys" }, el("tbody", {}, rows)),
    el(
      "p",
      { class: "check" },
      box,
      el("label", { for: "single-keys" }, "Enable single-key shortcuts"),
    ),
    el("h3", {}, "Send events here"),
    tabbedCode("Configuration", setupLines(endpoint)),
    el(
      "p",
      { class: "note" },
      hello
        ? `fslog ${hello.version}. API for scripts: ${location.origin}/api/events.`
        : "",
    ),
  );
}

function store(isOn) {
  try {
    localStorage.setItem(STORED, isOn ? "on" : "off");
  } catch {
    // Without storage the choice is not remembered.
  }
}
