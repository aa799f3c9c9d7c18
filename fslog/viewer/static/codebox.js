// Text to look at and to copy: one piece, or several behind tabs.
// Promises: what is copied is the whole text, also where the box shows only its beginning; where
// the clipboard is refused the text is selected instead, and the box says so.

import { announce } from "./announce.js";
import { copy, select } from "./clipboard.js";
import { button, el, replace, say } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { visible } from "./text.js";

const SHOWN = 20_000;
const DONE_MS = 2000;
let boxes = 0;

/** Show one piece of text under a name. */
export function codeBox(name, text) {
  const code = el("code", { dir: "ltr" });
  const pre = el("pre", { tabindex: "0", "aria-label": name }, code);
  const note = el("p", { class: "note", role: "status" });
  const box = el("div", { class: "codebox" }, copyButton(name, text, code, note), pre, note);
  show(code, note, text, SHOWN);
  return box;
}

/** Show several pieces, given as `[[name, text]...]`, one at a time. */
export function tabbedCode(label, pieces) {
  const id = `code-${(boxes += 1)}`;
  const panel = el("div", { role: "tabpanel", id: `${id}-panel` });
  const tabs = pieces.map(([name], index) =>
    el(
      "button",
      { type: "button", role: "tab", id: `${id}-${index}`, "aria-controls": panel.id },
      name,
    ),
  );
  const choose = (index, isFocused) => {
    tabs.forEach((tab, at) => {
      tab.setAttribute("aria-selected", at === index);
      tab.tabIndex = at === index ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", tabs[index].id);
    replace(panel, codeBox(pieces[index][0], pieces[index][1]));
    if (isFocused) tabs[index].focus();
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => choose(index));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by) choose((index + by + tabs.length) % tabs.length, true);
    });
  });
  choose(0);
  return el(
    "div",
    { class: "tabbed" },
    el("div", { role: "tablist", "aria-label": label }, tabs),
    panel,
  );
}

function show(code, note, text, most) {
  say(code, visible(text.slice(0, most)));
  if (text.length <= most) return replace(note);
  const more = button("Show more", () => show(code, note, text, most * 8), { class: "link" });
  return replace(note, `The first ${count(most)} of ${count(text.length)} characters. `, more);
}

function copyButton(name, text, code, note) {
  const word = el("span", {}, "Copy");
  const press = async () => {
    if (await copy(text)) {
      call("Copied");
      announce(`${name} copied`);
      setTimeout(() => call("Copy"), DONE_MS);
    } else {
      show(code, note, text, text.length);
      select(code);
      replace(note, "The browser refuses the clipboard. The text is selected: press Ctrl+C.");
    }
  };
  const made = button(`Copy ${name}`, press, { class: "copy" }, icon("copy"), word);
  const call = (verb) => {
    say(word, verb);
    made.setAttribute("aria-label", `${verb} ${name}`);
  };
  return made;
}
