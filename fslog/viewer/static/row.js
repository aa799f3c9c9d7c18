// One row of the event list.
// Guarantees: the state has a colour, an icon and a word; the row shows the first problem; screen
// readers get one sentence with the visible content in the same order.

import { clock, moment } from "./format.js";
import { badgeOf, isUnplanned } from "./icons.js";
import { el } from "./dom.js";
import { brief, isolated } from "./text.js";

const SHOWN_ELSEWHERE = new Set([
  "accountId",
  "userId",
  "createdAt",
  "action",
  "sessionId",
  "module",
  "feature",
  "product",
]);

/** Return the row of an entry; `isNew` highlights it for a moment. */
export function drawRow(entry, isNew) {
  const event = entry.event || {};
  const parts = {
    class: `row is-${entry.state}${isNew ? " new" : ""}`,
    "aria-label": sentence(entry),
  };
  const who = [cell("account", event.accountId, 60), cell("user", event.userId, 60)];
  const cells = [
    el("span", { class: "cell state" }, badgeOf(entry)),
    cell("action", event.action, 60),
    el("span", { class: "cell what" }, what(entry)),
    el("span", { class: "who" }, who),
    cell("session", event.sessionId, 40),
    el("time", { class: "cell time", title: moment(entry.at) }, clock(entry.at)),
  ];
  return el("div", parts, spaced(cells));
}

// Spaces separate the cells for screen readers.
function spaced(cells) {
  return cells.filter(Boolean).flatMap((one, index) => (index ? [" ", one] : [one]));
}

function cell(name, given, most) {
  const text = shown(given, most);
  const none = el("span", { class: "none", "aria-hidden": "true" }, "–");
  return el("span", { class: `cell ${name}` }, text ? isolated(text, { title: text }) : none, " ");
}

function shown(given, most) {
  return given === undefined || given === null ? "" : brief(given, most);
}

/** Return module and feature of an event: "reports / export". */
export function subject(event) {
  const named = [event.module, event.feature].filter((part) => part !== undefined && part !== "");
  return named.map((part) => brief(part, 80)).join(" / ");
}

function what(entry) {
  const about = aboutOf(entry);
  const problem = problemOf(entry);
  const name = about ? isolated(about, { class: "about" }) : null;
  return spaced([name, problem ? isolated(problem, { class: "problem" }) : null]);
}

function aboutOf(entry) {
  const event = entry.event || {};
  return subject(event) || rest(event);
}

function problemOf({ problems }) {
  if (!problems.length) return "";
  const more = problems.length > 1 ? ` (+${problems.length - 1} more)` : "";
  return brief(problems[0].message, 200) + more;
}

// Other properties, for an event that has neither module nor feature.
function rest(event) {
  const names = Object.keys(event)
    .filter((name) => !SHOWN_ELSEWHERE.has(name))
    .slice(0, 3);
  return names.map((name) => `${brief(name, 24)} ${brief(event[name], 40)}`).join(", ");
}

function sentence(entry) {
  const { action, accountId, userId, sessionId } = entry.event || {};
  const what = [shown(action, 60), aboutOf(entry), problemOf(entry)];
  const who = [shown(accountId, 60), shown(userId, 60), shown(sessionId, 40)];
  const state = isUnplanned(entry) ? "unplanned" : entry.state;
  return [state, ...what, ...who, clock(entry.at)].filter(Boolean).join(", ");
}
