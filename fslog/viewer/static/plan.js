// The view of the tracking plan: which planned events arrive, which do not, which are not planned;
// and what plans one of the latter.
// Guarantees: the counts are updated as events arrive; the link that has the focus keeps it; the
// text to paste is what `fslog plan infer` writes, and does not change while it is shown.

import { getPlan, getProposal } from "./api.js";
import { linkTo } from "./address.js";
import { codeBox } from "./codebox.js";
import { button, el, keepingFocus, replace } from "./dom.js";
import { count, counted, moment, when } from "./format.js";
import { icon, unplannedBadge } from "./icons.js";
import { brief, isolated } from "./text.js";

const MOST = 1000;
const STEP = 200;
const PAUSE_MS = 1000;

export class PlanView {
  #isShown = false;
  #id = "";
  #shown = STEP;
  #waiting = 0;

  constructor(stream) {
    this.element = el("div", { class: "view scroll plan-view" });
    for (const name of ["entries", "cleared", "restarted", "hello"]) {
      stream.addEventListener(name, () => this.#soon());
    }
  }

  show({ id }) {
    this.#isShown = true;
    this.#id = id;
    this.#shown = STEP;
    const hadFocus = this.element.contains(document.activeElement);
    replace(this.element, el("h2", {}, "Plan"));
    if (hadFocus) document.getElementById("main").focus();
    this.#load();
  }

  hide() {
    this.#isShown = false;
  }

  #soon() {
    if (!this.#isShown || this.#id || this.#waiting) return;
    this.#waiting = setTimeout(() => {
      this.#waiting = 0;
      if (this.#isShown && !this.#id && !document.hidden) this.#load();
    }, PAUSE_MS);
  }

  async #load() {
    const id = this.#id;
    const isOver = () => !this.#isShown || id !== this.#id;
    try {
      const drawn = id ? proposal(await getProposal(id)) : this.#coverage(await this.#ask());
      if (!isOver()) keepingFocus(this.element, () => replace(this.element, drawn));
    } catch (error) {
      if (!error.status || isOver()) return;
      const title = el("h2", {}, id ? "Add to plan" : "Plan");
      const head = el("header", { class: "head" }, id ? back() : null, title);
      replace(this.element, head, el("p", { class: "note" }, error.message));
    }
  }

  #ask() {
    return getPlan({ limit: Math.min(this.#shown, MOST) });
  }

  #coverage(plan) {
    const { events, seen, never_seen: missing, unplanned, other_unplanned: others } = plan.counts;
    const share = `${count(seen)} of ${counted(seen + missing, "planned event")} seen`;
    const text = `${share} (${Math.round(plan.percent)} %), in ${counted(events, "event")}`;
    const head = el(
      "header",
      { class: "head" },
      el("h2", {}, "Plan"),
      el("p", { class: "count-text" }, text),
      plan.plan ? isolated(brief(plan.plan, 200), { class: "id" }) : null,
    );
    const more = others ? el("p", { class: "note" }, `and ${counted(others, "other event")}`) : null;
    return [
      head,
      meter(plan.percent),
      part("Seen, not planned", unplanned, plan.unplanned.map(unplannedRow), more),
      part("Planned, never seen", missing, plan.never_seen.map(missingRow)),
      part("Planned and seen", seen, plan.seen.map(seenRow)),
      this.#more(plan),
    ];
  }

  #more({ counts }) {
    const most = Math.max(counts.unplanned, counts.never_seen, counts.seen);
    const press = () => {
      this.#shown += STEP;
      this.#load();
    };
    const isMore = this.#shown < Math.min(most, MOST);
    return isMore ? button("Show more", press, { class: "more" }) : null;
  }
}

function part(title, total, rows, more) {
  return el(
    "section",
    { class: "card" },
    el("h3", {}, `${title} (${count(total)})`),
    rows.length ? el("ul", { class: "planned" }, rows) : el("p", { class: "none" }, "None."),
    more,
  );
}

// Decoration only: the head states the same in words.
function meter(percent) {
  const bar = el("span", {});
  bar.style.width = `${percent}%`;
  return el("div", { class: "meter", "aria-hidden": "true" }, bar);
}

function seenRow(planned) {
  return row(
    eventsLink(planned.event, planned.filter),
    facts(planned),
    el("small", {}, `last ${when(planned.last)}`),
    el("b", {}, count(planned.count)),
  );
}

function missingRow(planned) {
  return row(isolated(brief(planned.event, 80), { class: "name" }), facts(planned));
}

function unplannedRow(one) {
  const name = brief(one.event, 80);
  const add = { class: "add", "aria-label": `Add to plan: ${name}` };
  return row(
    el("span", { class: "name" }, unplannedBadge(), " ", eventsLink(one.event, one.filter)),
    el("small", {}, isolated(brief(one.hint, 200))),
    el("small", {}, `last ${when(one.last)}`),
    el("b", {}, count(one.count)),
    el("a", { ...add, ...linkTo({ view: "plan", id: String(one.id) }) }, "Add to plan"),
  );
}

function row(...cells) {
  return el("li", {}, cells.flatMap((cell) => [cell, " "]));
}

function facts({ event, label, owner, description }) {
  const texts = [label === event ? "" : label, owner, description].filter(Boolean);
  return el("small", {}, isolated(texts.map((text) => brief(text, 120)).join(" · ")));
}

function eventsLink(name, filter) {
  const text = brief(name, 80);
  return el("a", { class: "name", ...linkTo({ view: "live", filter }) }, isolated(text));
}

function back() {
  return el("a", { class: "back", ...linkTo({ view: "plan" }) }, icon("back"), "The plan");
}

function proposal(one) {
  const times = one.count === 1 ? "once" : `${count(one.count)} times`;
  const hint = one.hint ? ` The plan has no such event; ${brief(one.hint, 200)}` : "";
  const plan = one.plan ? isolated(brief(one.plan, 200)) : "the plan";
  return [
    el(
      "header",
      { class: "head" },
      back(),
      el("h2", {}, "Add to plan: ", isolated(brief(one.event, 60))),
    ),
    el("p", {}, unplannedBadge(), ` Seen ${times}, last ${moment(one.last)}.${hint}`),
    el("p", {}, "Add this to the events of ", plan, ", and start the viewer again:"),
    codeBox(one.format, one.text),
    el("p", { class: "links" }, el("a", linkTo({ view: "live", filter: one.filter }), "Its events")),
  ];
}
