// The view of sessions: who was there, and what one user did, in order.
// Promises: a timeline is in the order of the events' own times; long silences are told; a
// session under way goes on by itself.

import { getEvents, getOverview } from "./api.js";
import { leadingTo } from "./address.js";
import { button, el, keepingFocus, replace } from "./dom.js";
import { clock, counted, lasting, moment, when } from "./format.js";
import { badge, icon } from "./icons.js";
import { subject } from "./row.js";
import { brief, isolated, value } from "./text.js";
import { strip } from "./strip.js";

const SILENCE_MS = 60_000;
const MOST = 1000;
const STEP = 200;
const PAUSE_MS = 1000;

export class Sessions {
  #isShown = false;
  #id = "";
  #shown = STEP;
  #waiting = 0;

  constructor(stream) {
    this.body = el("div", { class: "view sessions-view scroll" });
    this.element = this.body;
    for (const name of ["entries", "cleared", "anew", "hello"]) {
      stream.addEventListener(name, () => this.#soon());
    }
  }

  show({ id }) {
    this.#isShown = true;
    this.#id = id;
    this.#shown = STEP;
    this.#load();
  }

  hide() {
    this.#isShown = false;
  }

  #soon() {
    if (!this.#isShown || this.#waiting) return;
    this.#waiting = setTimeout(() => {
      this.#waiting = 0;
      if (this.#isShown && !document.hidden) this.#load();
    }, PAUSE_MS);
  }

  async #load() {
    const id = this.#id;
    try {
      const draw = id ? await this.#timeline(id) : await this.#list();
      if (this.#isShown && id === this.#id) keepingFocus(this.body, () => replace(this.body, draw));
    } catch (error) {
      if (error.status) replace(this.body, el("p", { class: "note" }, error.message));
    }
  }

  async #list() {
    const { sessions } = await getOverview();
    const head = el(
      "header",
      { class: "head" },
      el("h2", {}, "Sessions"),
      el("p", { class: "told" }, sessions.length ? `The newest ${sessions.length}` : ""),
    );
    const none = el("p", { class: "note" }, "No session yet: no event with a sessionId is kept.");
    return [
      head,
      sessions.length ? el("ol", { class: "session-list" }, sessions.map(sessionCard)) : none,
    ];
  }

  async #timeline(id) {
    const answer = await getEvents({ session: id, order: "asc", limit: MOST, brief: 1 });
    const entries = [...answer.entries].sort((a, b) => timeOf(a) - timeOf(b));
    const back = el(
      "a",
      { class: "back", ...leadingTo({ view: "sessions" }) },
      icon("back"),
      "All sessions",
    );
    const head = el(
      "header",
      { class: "head" },
      back,
      el("h2", {}, "Session ", isolated(brief(id, 60))),
    );
    if (!entries.length)
      return [head, el("p", { class: "note" }, "No event of this session is kept.")];
    return [
      head,
      summary(id, entries, answer.total),
      strip(entries.map(mark)),
      this.#steps(entries),
    ];
  }

  #steps(entries) {
    const shown = entries.slice(0, this.#shown);
    const steps = shown.flatMap((entry, index) => [
      silence(shown[index - 1], entry),
      step(entry, shown[0]),
    ]);
    const more = () => {
      this.#shown += STEP;
      this.#load();
    };
    const rest = entries.length - shown.length;
    return [
      el("ol", { class: "timeline" }, steps.filter(Boolean)),
      rest > 0 ? button(`Show more: ${rest}`, more) : null,
    ];
  }
}

/** Return the time an entry tells; its arrival where it tells none. */
export function timeOf(entry) {
  const at = entry.event?.createdAt;
  return typeof at === "number" && Number.isFinite(at) && at > 1e11 ? at : entry.at;
}

function sessionCard(session) {
  const who = [session.accountId, session.userId].map((name) => value(name, 60));
  const length = session.to > session.from ? `, ${lasting(session.to - session.from)}` : "";
  return el(
    "li",
    {},
    el(
      "a",
      leadingTo({ view: "sessions", id: session.sessionId }),
      el("span", { class: "who" }, who[1], el("small", {}, who[0])),
      isolated(brief(session.sessionId, 40), { class: "id" }),
      el("span", { class: "span" }, `${when(session.from)}${length}`),
      el("b", {}, counted(session.count, "event")),
    ),
  );
}

function summary(id, entries, total) {
  const [first, last] = [entries[0], entries[entries.length - 1]];
  const people = new Set(
    entries.map((entry) => entry.event?.userId).filter((name) => typeof name === "string"),
  );
  const wrong = entries.filter((entry) => entry.state !== "valid").length;
  const facts = [
    ["User", value(first.event?.userId, 60)],
    ["Account", value(first.event?.accountId, 60)],
    ["From", moment(timeOf(first))],
    ["Lasted", lasting(timeOf(last) - timeOf(first))],
    [
      "Events",
      el(
        "a",
        leadingTo({ view: "live", filter: { session: id } }),
        total > entries.length ? `first ${entries.length} of ${total}` : String(total),
      ),
    ],
    ["Problems", wrong ? String(wrong) : "none"],
  ];
  const shared =
    people.size > 1
      ? el(
          "p",
          { class: "note is-warning" },
          icon("warning"),
          `${people.size} different users share this sessionId.`,
        )
      : null;
  return [
    el(
      "dl",
      { class: "facts wide" },
      facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))),
    ),
    shared,
  ];
}

function mark(entry) {
  return { at: timeOf(entry), state: entry.state };
}

function silence(before, entry) {
  const gap = before ? timeOf(entry) - timeOf(before) : 0;
  return gap >= SILENCE_MS ? el("li", { class: "silence" }, `${lasting(gap)} of silence`) : null;
}

function step(entry, first) {
  const event = entry.event || {};
  const after = timeOf(entry) - timeOf(first);
  const problem = entry.problems[0];
  return el(
    "li",
    { class: `step is-${entry.state}` },
    el(
      "time",
      {},
      clock(timeOf(entry)),
      el("small", {}, after > 0 ? `+${lasting(after)}` : "start"),
    ),
    el(
      "a",
      leadingTo({ view: "live", id: entry.id, filter: { session: event.sessionId } }),
      entry.state === "valid" ? null : badge(entry.state),
      el("b", {}, isolated(brief(event.action ?? "no action", 60))),
      isolated(subject(event)),
      problem ? isolated(brief(problem.message, 200), { class: "complaint" }) : null,
    ),
  );
}
