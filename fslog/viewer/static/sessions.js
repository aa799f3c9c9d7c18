// The view of sessions, and the timeline of one session.
// Guarantees: every session that matches the filter can be reached; a timeline has as many events
// as the list states, ordered by `createdAt`; long gaps are shown; running sessions are updated.

import { getEvents, getSessions } from "./api.js";
import { linkTo } from "./address.js";
import { button, el, keepingFocus, replace, svg } from "./dom.js";
import { FilterBar, filterError } from "./filterbar.js";
import { clock, count, counted, lasting, moment, when } from "./format.js";
import { badgeOf, icon } from "./icons.js";
import { subject } from "./row.js";
import { brief, isolated, value } from "./text.js";

const GAP_MS = 60_000;
const MOST = 1000;
const STEP = 100;
const PAUSE_MS = 1000;
const STRIP_WIDTH = 1000;
const STRIP_HEIGHT = 28;

export class Sessions {
  #isShown = false;
  #place = { id: "", filter: {} };
  #shown = STEP;
  #waiting = 0;

  constructor(stream) {
    this.filterBar = new FilterBar();
    this.body = el("div", { class: "scroll" });
    const bar = el("div", { class: "bar" }, this.filterBar.element);
    this.element = el("div", { class: "view sessions-view" }, bar, this.body);
    for (const name of ["entries", "cleared", "restarted", "hello"]) {
      stream.addEventListener(name, () => this.#soon());
    }
  }

  show({ id, filter }) {
    this.filterBar.show(filter);
    this.#isShown = true;
    this.#place = { id, filter };
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
    const place = this.#place;
    const { id, filter } = place;
    try {
      const draw = id ? await this.#timeline(id, filter) : await this.#list(filter);
      if (this.#isShown && place === this.#place)
        keepingFocus(this.body, () => replace(this.body, draw));
    } catch (error) {
      if (error.status && place === this.#place) replace(this.body, filterError(error.message));
    }
  }

  async #list(filter) {
    const { sessions, total } = await getSessions({ ...filter, limit: Math.min(this.#shown, MOST) });
    const some = sessions.length < total ? `The newest ${count(sessions.length)} of ` : "";
    const head = el(
      "header",
      { class: "head" },
      el("h2", {}, "Sessions"),
      el("p", { class: "count-text" }, total ? `${some}${counted(total, "session")}` : ""),
    );
    const none = el("p", { class: "note" }, "No sessions.");
    if (!total) return [head, none];
    const cards = el("ol", { class: "session-list" }, sessions.map(sessionCard));
    return [head, cards, this.#more(Math.min(total, MOST) - sessions.length)];
  }

  #more(rest) {
    const press = () => {
      this.#shown += STEP;
      this.#load();
    };
    return rest > 0 ? button(`Show ${count(rest)} more`, press, { class: "more" }) : null;
  }

  async #timeline(id, filter) {
    const query = { ...filter, session: id, order: "asc", limit: MOST, brief: 1 };
    const answer = await getEvents(query);
    const entries = [...answer.entries].sort((a, b) => a.when - b.when);
    const back = el(
      "a",
      { class: "back", ...linkTo({ view: "sessions" }) },
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
      return [head, el("p", { class: "note" }, "This session has no events.")];
    return [
      head,
      summary({ ...filter, session: id }, entries, answer.total),
      strip(entries.map(mark)),
      this.#steps(entries, { ...filter, session: id }),
    ];
  }

  #steps(entries, filter) {
    const shown = entries.slice(0, this.#shown);
    const steps = shown.flatMap((entry, index) => [
      gapBefore(shown[index - 1], entry),
      step(entry, shown[0], filter),
    ]);
    return [
      el("ol", { class: "timeline" }, steps.filter(Boolean)),
      this.#more(entries.length - shown.length),
    ];
  }
}

function sessionCard(session) {
  const who = [session.accountId, session.userId].map((name) => value(name, 60));
  const more = session.users - (session.userId === null ? 0 : 1);
  const others = more > 0 ? el("small", {}, ` and ${count(more)} more`) : null;
  const length = session.to > session.from ? `, ${lasting(session.to - session.from)}` : "";
  return el(
    "li",
    {},
    el(
      "a",
      linkTo({ view: "sessions", id: session.sessionId }),
      el("span", { class: "who" }, el("span", {}, who[1], others), el("small", {}, who[0])),
      isolated(brief(session.sessionId, 40), { class: "id" }),
      el("span", { class: "span" }, `${when(session.from)}${length}`),
      el("b", {}, counted(session.count, "event")),
    ),
  );
}

function summary(filter, entries, total) {
  const [first, last] = [entries[0], entries[entries.length - 1]];
  const people = new Set(
    entries.map((entry) => entry.event?.userId).filter((name) => typeof name === "string"),
  );
  const problems = entries.filter((entry) => entry.state !== "valid").length;
  const facts = [
    ["User", value(first.event?.userId, 60)],
    ["Account", value(first.event?.accountId, 60)],
    ["From", moment(first.when)],
    ["Duration", lasting(last.when - first.when)],
    [
      "Events",
      el(
        "a",
        linkTo({ view: "live", filter }),
        total > entries.length ? `the first ${count(entries.length)} of ${count(total)}` : count(total),
      ),
    ],
    ["Problems", problems ? String(problems) : "none"],
  ];
  const shared =
    people.size > 1
      ? el(
          "p",
          { class: "note is-warning" },
          icon("warning"),
          `${people.size} different users have this sessionId.`,
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
  return { at: entry.when, state: entry.state };
}

function gapBefore(before, entry) {
  const gap = before ? entry.when - before.when : 0;
  return gap >= GAP_MS ? el("li", { class: "gap" }, `${lasting(gap)} without events`) : null;
}

function step(entry, first, filter) {
  const event = entry.event || {};
  const after = entry.when - first.when;
  const problem = entry.problems[0];
  return el(
    "li",
    { class: `step is-${entry.state}` },
    el(
      "time",
      {},
      clock(entry.when),
      el("small", {}, after > 0 ? `+${lasting(after)}` : "start"),
    ),
    el(
      "a",
      linkTo({ view: "live", id: entry.id, filter }),
      entry.state === "valid" ? null : badgeOf(entry),
      el("b", {}, isolated(brief(event.action ?? "no action", 60))),
      isolated(subject(event)),
      problem ? isolated(brief(problem.message, 200), { class: "problem" }) : null,
    ),
  );
}

// Decoration only: the timeline below states the same in words.
function strip(marks) {
  const from = marks[0].at;
  const span = Math.max(1, marks[marks.length - 1].at - from);
  const place = (at) => (4 + ((at - from) / span) * (STRIP_WIDTH - 8)).toFixed(1);
  const lines = ["valid", "warning", "invalid"].map((state) => {
    const path = marks
      .filter((mark) => mark.state === state)
      .map((mark) => `M${place(mark.at)} 4v${STRIP_HEIGHT - 8}`);
    return svg("path", { class: `is-${state}`, d: path.join("") });
  });
  const shape = {
    class: "strip",
    viewBox: `0 0 ${STRIP_WIDTH} ${STRIP_HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  };
  return svg("svg", shape, lines);
}
