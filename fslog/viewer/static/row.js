// One row of the list: an entry at a glance.
// Promises: state by colour, sign and word; a wrong entry says in the row what is wrong with it;
// screen readers get one sentence.

import { clock } from "./format.js";
import { badge } from "./icons.js";
import { el } from "./dom.js";
import { brief, isolated, value } from "./text.js";

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
  return el(
    "div",
    parts,
    el("span", { class: "cell state" }, badge(entry.state)),
    el("time", { class: "cell time" }, clock(entry.at)),
    el("span", { class: "cell action" }, value(event.action, 60)),
    el("span", { class: "cell what" }, what(entry)),
    el(
      "span",
      { class: "who" },
      el("span", { class: "cell account" }, value(event.accountId, 60)),
      el("span", { class: "cell user" }, value(event.userId, 60)),
    ),
    el("span", { class: "cell session" }, value(event.sessionId, 40)),
  );
}

/** Name what an event is about: "reports / export". */
export function subject(event) {
  const named = [event.module, event.feature].filter((part) => part !== undefined && part !== "");
  return named.map((part) => brief(part, 80)).join(" / ");
}

function what(entry) {
  const event = entry.event || {};
  const about = subject(event) || rest(event);
  const name = about ? isolated(about, { class: "about" }) : null;
  return [name, ...entry.problems.slice(0, 1).map((problem) => complaint(entry, problem))];
}

function complaint(entry, problem) {
  const more = entry.problems.length > 1 ? ` (+${entry.problems.length - 1} more)` : "";
  return isolated(brief(problem.message, 200) + more, { class: "complaint" });
}

// What else an event says, for an action that has neither module nor feature.
function rest(event) {
  const names = Object.keys(event)
    .filter((name) => !NOT_SAID.has(name))
    .slice(0, 3);
  return names.map((name) => `${brief(name, 24)} ${brief(event[name], 40)}`).join(", ");
}

function sentence(entry) {
  const event = entry.event || {};
  const wrong = entry.problems.map((problem) => brief(problem.message, 200)).slice(0, 2);
  const who = [event.accountId, event.userId].filter(Boolean).map((part) => brief(part, 60));
  const parts = [entry.state, brief(event.action ?? "no action", 60), subject(event), ...who];
  return [...parts, clock(entry.at), ...wrong].filter(Boolean).join(", ");
}
