// Values of events as text that can be looked at.
// Promises: what cannot be seen, or would reorder its surroundings, is shown as a mark; what is
// long is cut and says so; nothing is ever taken for markup.

import { el } from "./dom.js";
import { counted } from "./format.js";

// Controls, formats, line and paragraph separators, halves of pairs; less what text is laid out
// with, and less the two joiners, which emoji and several scripts cannot do without.
const UNSEEN = /(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const HALF = /[\ud800-\udbff]$/;
const CONTROLS = 0x20;
const PICTURES = 0x2400;

/** Return text with marks for what cannot be seen: `␀` for a control, `[U+202E]` for the rest. */
export function visible(text) {
  return text.replace(UNSEEN, (found) => {
    const code = found.codePointAt(0);
    if (code < CONTROLS) return String.fromCharCode(PICTURES + code);
    return `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  });
}

/** Cut text to a number of characters, ending in dots where something is missing. */
export function cut(text, most) {
  return text.length > most ? `${text.slice(0, most).replace(HALF, "")}…` : text;
}

/** Return one line of text for a list or a label. */
export function brief(value, most = 120) {
  const text = typeof value === "string" ? value : written(value, most);
  return visible(cut(text, most).replace(/[\t\n\r]+/g, " "));
}

/** Return a value as JSON would have it; objects are cut, never walked to their end. */
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

/** Put text into an element of its own direction, so that it cannot turn its surroundings. */
export function isolated(text, attributes = {}) {
  return el("bdi", attributes, text);
}

/** Show an optional value of an event, or a dash. */
export function value(given, most = 120) {
  if (given === undefined || given === null || given === "") {
    return el("span", { class: "none", "aria-label": "none" }, "–");
  }
  const text = brief(given, most);
  return isolated(text, { title: text });
}
