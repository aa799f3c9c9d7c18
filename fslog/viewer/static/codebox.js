// Boxes of text to copy: one, or several as tabs.
// Guarantees: Copy copies the whole text, even if the box shows only its beginning. If the browser
// does not allow it (on pages that are neither https nor loopback), the text is selected.

import { announce } from "./announce.js";
import { button, el, replace, setText } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { visible } from "./text.js";

const SHOWN = 20_000;
const DONE_MS = 2000;
let boxes = 0;

/** Return a box with one text. */
export function codeBox(name, text) {
  const code = el("code", { dir: "ltr" });
  const pre = el("pre", { tabindex: "0", "aria-label": name }, code);
  const note = el("p", { class: "note", role: "status" });
  const box = el("div", { class: "codebox" }, copyButton(name, text, code, note), pre, note);
  show(code, note, text, SHOWN);
  return box;
}

/** Return tabs of boxes for `[[name, text]...]`. */
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
  setText(code, visible(text.slice(0, most)));
  if (text.length <= most) return replace(note);
  const more = button("Show more", () => show(code, note, text, most * 8), { class: "link" });
  return replace(note, `The first ${count(most)} of ${count(text.length)} characters. `, more);
}

function copyButton(name, text, code, note) {
  const word = el("span", {}, "Copy");
  const press = async () => {
    if (await copy(text)) {
      setVerb("Copied");
      announce(`${name} copied`);
      setTimeout(() => setVerb("Copy"), DONE_MS);
    } else {
      show(code, note, text, text.length);
      select(code);
      replace(note, "The browser does not allow copying. The text is selected: press Ctrl+C.");
    }
  };
  const element = button(`Copy ${name}`, press, { class: "copy" }, icon("copy"), word);
  const setVerb = (verb) => {
    setText(word, verb);
    element.setAttribute("aria-label", `${verb} ${name}`);
  };
  return element;
}

/** Copy text; resolve to whether the browser allowed it. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function select(element) {
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
  // Inside an open dialog, because nothing outside of it can have the focus.
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
