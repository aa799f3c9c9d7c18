// Values of events as safe text.
// Guarantees: invisible and direction-changing characters are shown as marks; long text is cut with
// an ellipsis; nothing is interpreted as markup.

import { el } from "./dom.js";
import { counted } from "./format.js";

// Control and format characters, line and paragraph separators, lone surrogates; except tabs, line
// feeds and the two joiners, which emoji and several scripts need.
const INVISIBLE = /(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const TRAILING_SURROGATE = /[\ud800-\udbff]$/;
const CONTROLS = 0x20;
const PICTURES = 0x2400;

/** Return text with marks for invisible characters: `␀` for controls, `[U+202E]` for others. */
export function visible(text) {
  return text.replace(INVISIBLE, (found) => {
    const code = found.codePointAt(0);
    if (code < CONTROLS) return String.fromCharCode(PICTURES + code);
    return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/** Cut text to a number of characters, with an ellipsis if it is longer. */
export function cut(text, most) {
  return text.length > most ? `${text.slice(0, most).replace(TRAILING_SURROGATE, "")}…` : text;
}

/** Return a value as one line of text. */
export function brief(value, most = 120) {
  const text = typeof value === "string" ? value : written(value, most);
  return visible(cut(text, most).replace(/[\t\n\r]+/g, " "));
}

/** Return a value like JSON; arrays and objects by their size. */
export function written(value, most = 400) {
  if (typeof value === "string") return JSON.stringify(cut(value, most));
  if (Array.isArray(value)) return `[${counted(value.length, "item")}]`;
  if (value !== null && typeof value === "object") {
    return `{${counted(Object.keys(value).length, "property", "properties")}}`;
  }
  return String(value);
}

/** Return the name of a JSON value's type. */
export function typeName(value) {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** Return text in an element that isolates its direction from the surroundings. */
export function isolated(text, attributes = {}) {
  return el("bdi", attributes, text);
}

/** Return an optional value of an event, or a dash. */
export function value(given, most = 120) {
  if (given === undefined || given === null || given === "") {
    return el("span", { class: "none", "aria-label": "none" }, "–");
  }
  const text = brief(given, most);
  return isolated(text, { title: text });
}
