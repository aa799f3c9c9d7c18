// What the keys do, and how to point an application here.
// Promises: single keys can be switched off, for those whose tools send keys by themselves; the
// choice is kept where the browser allows.

import { showDialog } from "./dialog.js";
import { el } from "./dom.js";
import { tabbedCode } from "./codebox.js";
import { setupLines } from "./setup.js";

const KEYS = [
  [["/"], "search"],
  [["j", "↓"], "next event"],
  [["k", "↑"], "previous event"],
  [["Enter"], "open the event"],
  [["Escape"], "close it, or leave the search"],
  [["p"], "pause, resume"],
  [["1", "2", "3", "4", "5"], "Live, Overview, Sessions, Requests, Bad server"],
  [["?"], "this help"],
];
const STORED = "fslog.single-keys";

/** Tell whether single keys do something. */
export function hasSingleKeys() {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
}

/** Show the help. */
export function showHelp(hello) {
  const rows = KEYS.map(([keys, does]) => {
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
      el("label", { for: "single-keys" }, "Single keys are shortcuts"),
    ),
    el("h3", {}, "Point an application here"),
    tabbedCode("Point an application here by", setupLines(endpoint)),
    el(
      "p",
      { class: "note" },
      hello
        ? `fslog ${hello.version}. Scripts find the same at ${location.origin}/api/events.`
        : "",
    ),
  );
}

function store(isOn) {
  try {
    localStorage.setItem(STORED, isOn ? "on" : "off");
  } catch {
    // It holds for this page then.
  }
}
