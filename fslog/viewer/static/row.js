// One row of the list: an entry at a glance.
// Promises: state by colour, sign and word; a wrong entry says in the row what is wrong with it;
// screen readers get one sentence, which says what is seen, in the same order.

import { clock, moment } from "./format.js";
import { badge } from "./icons.js";
import { el } from "./dom.js";
import { brief, isolated } from "./text.js";

const NOT_SAID = new Set([
  "accountId",
  "userId",
  "createdAt",
  "action",
  "sessionId",
  "module",
  "feature",
  "product",
]);

/** Draw an entry; `isNew` lets it light up for a moment. */
export function drawRow(entry, isNew) {
  const event = entry.event || {};
  const parts = {
    class: `row is-${entry.state}${isNew ? " new" : ""}`,
    "aria-label": sentence(entry),
  };
  const who = [cell("account", event.accountId, 60), cell("user", event.userId, 60)];
  const cells = [
    el("span", { class: "cell state" }, badge(entry.state)),
    cell("action", event.action, 60),
    el("span", { class: "cell what" }, what(entry)),
    el("span", { class: "who" }, who),
    cell("session", event.sessionId, 40),
    el("time", { class: "cell time", title: moment(entry.at) }, clock(entry.at)),
  ];
  return el("div", parts, spaced(cells));
}

// What is read as one text needs spaces, which the layout does not show.
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

/** Name what an event is about: "reports / export". */
export function subject(event) {
  const named = [event.module, event.feature].filter((part) => part !== undefined && part !== "");
  return named.map((part) => brief(part, 80)).join(" / ");
}

function what(entry) {
  const about = aboutOf(entry);
  const wrong = complaint(entry);
  const name = about ? isolated(about, { class: "about" }) : null;
  return spaced([name, wrong ? isolated(wrong, { class: "complaint" }) : null]);
}

function aboutOf(entry) {
  const event = entry.event || {};
  return subject(event) || rest(event);
}

function complaint({ problems }) {
  if (!problems.length) return "";
  const more = problems.length > 1 ? ` (+${problems.length - 1} more)` : "";
  return brief(problems[0].message, 200) + more;
}

// What else an event says, for an action that has neither module nor feature.
function rest(event) {
  const names = Object.keys(event)
    .filter((name) => !NOT_SAID.has(name))
    .slice(0, 3);
  return names.map((name) => `${brief(name, 24)} ${brief(event[name], 40)}`).join(", ");
}

function sentence(entry) {
  const { action, accountId, userId, sessionId } = entry.event || {};
  const what = [shown(action, 60), aboutOf(entry), complaint(entry)];
  const who = [shown(accountId, 60), shown(userId, 60), shown(sessionId, 40)];
  return [entry.state, ...what, ...who, clock(entry.at)].filter(Boolean).join(", ");
}
