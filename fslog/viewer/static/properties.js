// The table of an event's properties and their types.
// Guarantees: the five required properties come first, also if missing; properties with a problem
// are marked; nested values are shown up to a limit of depth and number.

import { button, el, replace } from "./dom.js";
import { count, counted, lasting, moment } from "./format.js";
import { icon } from "./icons.js";
import { go } from "./address.js";
import { brief, isolated, typeName, visible } from "./text.js";

const REQUIRED = ["accountId", "userId", "createdAt", "action", "sessionId"];
const FILTER_OF = {
  accountId: "account",
  userId: "user",
  sessionId: "session",
  action: "action",
  module: "module",
  feature: "feature",
};
const MOST_ROWS = 300;
const MOST_DEPTH = 6;
const SHOWN = 1000;

/** Return the table of an entry's event. */
export function propertyTable(entry) {
  const event = entry.event;
  const room = { rows: MOST_ROWS };
  const others = Object.keys(event).filter((name) => !REQUIRED.includes(name));
  const rows = [...REQUIRED, ...others].flatMap((name) => property(entry, name, room));
  if (room.rows <= 0) rows.push(truncated());
  const head = ["Property", "Value", "Type"].map((name) => el("th", { scope: "col" }, name));
  return el(
    "table",
    { class: "properties" },
    el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, rows),
  );
}

function property(entry, name, room) {
  const problems = entry.problems.filter((problem) => problem.property === name);
  if (!Object.hasOwn(entry.event, name)) {
    if (problems.length === 0) return [];
    return [row(name, 0, missing(), "", problems, entry.state)];
  }
  const value = entry.event[name];
  const cell = el("span", {}, leaf(value), remark(name, value, entry), filterButton(name, value));
  const first = row(name, 0, cell, typeName(value), problems, entry.state);
  room.rows -= 1;
  return [first, ...nested(value, 1, room)];
}

function nested(value, depth, room) {
  if (value === null || typeof value !== "object" || depth > MOST_DEPTH) return [];
  const rows = [];
  for (const [name, inner] of Object.entries(value)) {
    if ((room.rows -= 1) <= 0) break;
    rows.push(
      row(name, depth, leaf(inner), typeName(inner), [], ""),
      ...nested(inner, depth + 1, room),
    );
  }
  return rows;
}

function row(name, depth, cell, type, problems, state) {
  const className = problems.length ? `is-${state}` : "";
  const sign = problems.length ? icon(state) : null;
  const place = { scope: "row", class: `depth-${Math.min(depth, MOST_DEPTH)}` };
  const shown = el("th", place, sign, isolated(brief(name, 80)));
  return el(
    "tr",
    { class: className },
    shown,
    el("td", { class: "given" }, cell),
    el("td", { class: "type" }, type),
  );
}

function missing() {
  return el("em", { class: "missing" }, "missing");
}

// Strings have no quotes: the type is in the next column.
function leaf(value) {
  if (value === "") return el("em", { class: "none" }, "empty");
  if (typeof value !== "string")
    return el("bdi", { class: `as-${typeName(value)}` }, summary(value));
  if (value.length <= SHOWN) return isolated(visible(value), { class: "as-string" });
  return long(value);
}

function summary(value) {
  if (value === null || typeof value !== "object") return String(value);
  const size = Object.keys(value).length;
  return Array.isArray(value) ? counted(size, "item") : counted(size, "property", "properties");
}

function long(value) {
  const text = isolated(`${visible(value.slice(0, SHOWN))}…`, { class: "as-string" });
  const note = el("small", {}, ` ${count(value.length)} characters `);
  const more = button(
    "Show more",
    () => {
      replace(text, visible(value.slice(0, SHOWN * 100)));
      more.remove();
    },
    { class: "link" },
  );
  return el("span", {}, text, note, more);
}

function remark(name, value, entry) {
  if (name !== "createdAt" || typeof value !== "number") return null;
  const gap = entry.at - value;
  const when = moment(value);
  if (when === "–") return null;
  const distance = `${lasting(Math.abs(gap))} ${gap < 0 ? "after" : "before"} arrival`;
  return el("small", { class: "remark" }, `${when}, ${distance}`);
}

function filterButton(name, value) {
  const key = FILTER_OF[name];
  if (!key || typeof value !== "string" || value === "" || value.length > 200) return null;
  return onlyButton(`Only ${name} ${brief(value, 60)}`, { [key]: value });
}

/** Return a small button that applies a filter. */
export function onlyButton(label, filter) {
  const press = () => go({ view: "live", filter });
  return button(label, press, { class: "only" }, icon("filter"));
}

function truncated() {
  return el(
    "tr",
    {},
    el("td", { colspan: "3", class: "none" }, "More properties: see the raw line."),
  );
}
