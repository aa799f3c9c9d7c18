// The details of one event.
// Guarantees: problems come first, each with the received and the expected value, then the
// corrected log call and rule, the properties, the request, and the raw line.

import { getEvent } from "./api.js";
import { linkTo } from "./address.js";
import { tabbedCode } from "./codebox.js";
import { button, el, replace } from "./dom.js";
import { bytes, clock, counted, moment, saved, sizeOf } from "./format.js";
import { badgeOf, icon } from "./icons.js";
import { answerText } from "./answers.js";
import { onlyButton, propertyTable } from "./properties.js";
import { subject } from "./row.js";
import { brief, isolated } from "./text.js";

export class Detail {
  #id = null;

  /** `callbacks` is `{close(), step(by)}`. */
  constructor(callbacks) {
    this.callbacks = callbacks;
    this.body = el("div", { class: "detail-body" });
    const title = el("h2", { id: "detail-title" }, "Event");
    this.title = title;
    this.element = el(
      "section",
      { class: "detail", "aria-labelledby": "detail-title", tabindex: "-1", hidden: true },
      el("header", {}, this.#close(), title, this.#steps()),
      this.body,
    );
  }

  get isOpen() {
    return !this.element.hidden;
  }

  get id() {
    return this.#id;
  }

  /** Show the entry with an id, unless it is already shown. */
  async open(id) {
    this.element.hidden = false;
    if (id === this.#id) return;
    this.#id = id;
    try {
      const entry = await getEvent(id);
      if (id === this.#id) this.#show(entry);
    } catch (error) {
      if (id === this.#id) this.#fail(error);
    }
  }

  close() {
    this.#id = null;
    this.element.hidden = true;
    replace(this.body);
  }

  #close() {
    return button(
      "Close the event",
      () => this.callbacks.close(),
      { class: "quiet close" },
      icon("close"),
    );
  }

  #steps() {
    const newer = button(
      "Newer event",
      () => this.callbacks.step(-1),
      { class: "quiet newer" },
      icon("back"),
    );
    const older = button(
      "Older event",
      () => this.callbacks.step(1),
      { class: "quiet older" },
      icon("next"),
    );
    return el("span", { class: "steps" }, newer, older);
  }

  #fail(error) {
    replace(this.title, `Event ${brief(this.#id, 20)}`);
    const gone = "This event is no longer kept: it was cleared or evicted from memory.";
    replace(this.body, el("p", { class: "note" }, error.status === 404 ? gone : error.message));
    if (error.status !== 404) this.#id = null;
  }

  #show(entry) {
    const event = entry.event || {};
    const action = brief(event.action ?? (entry.event ? "No action" : "Not an event"), 60);
    const about = isolated(subject(event), { class: "about" });
    replace(this.title, isolated(action), about, el("span", { class: "number" }, `#${entry.id}`));
    replace(
      this.body,
      el("p", { class: "summary" }, badgeOf(entry), el("span", {}, verdict(entry))),
      entry.problems.length ? problems(entry) : null,
      entry.unplanned ? addToPlan(entry.unplanned) : null,
      entry.hint ? correction(entry) : null,
      entry.event ? section("Properties", propertyTable(entry)) : null,
      section("Copy", tabbedCode("Copy the event as", snippets(entry))),
      entry.received ? section("Request", request(entry.received)) : null,
    );
    this.body.scrollTop = 0;
  }
}

const VERDICTS = {
  valid: "The endpoint accepts this event.",
  warning: "The endpoint accepts this event, but it is probably not what you intended.",
  invalid: "The real endpoint would silently drop this event.",
};

function verdict(entry) {
  return `${VERDICTS[entry.state] || ""} Arrived ${moment(entry.at)}.`;
}

function section(title, ...children) {
  return el("section", { class: "part" }, el("h3", {}, title), children);
}

function problems(entry) {
  return el(
    "ul",
    { class: "problems" },
    entry.problems.map((problem) => problemItem(problem, entry.state)),
  );
}

function problemItem(problem, state) {
  const pairs = [
    ["Received", problem.got],
    ["Expected", problem.expected],
  ].filter(([, text]) => text);
  const facts = pairs.map(([name, text]) => [
    el("dt", {}, name),
    el("dd", {}, isolated(brief(text, 400))),
  ]);
  const place = problem.property
    ? isolated(brief(problem.property, 80), { class: "name" })
    : "the line";
  return el(
    "li",
    { class: `is-${state}` },
    el("p", { class: "which" }, icon(state), place, kind(problem)),
    el("p", {}, isolated(brief(problem.message, 600))),
    facts.length ? el("dl", { class: "facts" }, facts) : null,
  );
}

function kind({ code, property }) {
  const label = `${code} ${property}`.trim();
  return el("code", {}, brief(code, 40), onlyButton(`Only problems ${brief(label, 60)}`, { problem: label }));
}

function addToPlan(id) {
  const place = linkTo({ view: "plan", id: String(id) });
  return el("p", { class: "links" }, el("a", place, "Add to plan"));
}

function correction(entry) {
  const pieces = [];
  if (entry.hint.python) pieces.push(["Log call", entry.hint.python]);
  if (entry.hint.rule) pieces.push(["Rule", entry.hint.rule]);
  return pieces.length
    ? section("Correction", tabbedCode("Corrected", pieces))
    : null;
}

function snippets(entry) {
  const { json, curl, python } = entry.copies || {};
  const named = [
    ["JSON", json],
    ["curl", curl],
    ["Python", python],
    ["Raw line", entry.line],
  ];
  return named.filter(([, text]) => typeof text === "string");
}

function request(received) {
  const invalid = received.invalid ? `, ${received.invalid} invalid` : "";
  const retry = received.retry_of ? `of request #${received.retry_of}` : null;
  const rows = [
    ["Arrived", moment(received.at)],
    ["Request", isolated(`${brief(received.method, 20)} ${brief(received.path, 120)}`)],
    ["Encoding", received.encoding || "none"],
    ["Size", size(received)],
    ["Events", `${counted(received.events, "valid event")}${invalid}`],
    ["Answer", answerText(received)],
    ["Retry", retry],
    ["Client", received.user_agent ? isolated(brief(received.user_agent, 120)) : null],
  ].filter(([, text]) => text);
  const links = el(
    "p",
    { class: "links" },
    el(
      "a",
      linkTo({ view: "requests", id: received.id }),
      `Request #${received.id} at ${clock(received.at)}`,
    ),
    el("a", linkTo({ view: "live", filter: { request: received.id } }), "All its events"),
  );
  return [
    el(
      "dl",
      { class: "facts" },
      rows.map(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]),
    ),
    links,
  ];
}

function size(received) {
  const { encoding, bytes_received: sent, bytes_unpacked: before } = received;
  if (!encoding) return `${bytes(sent)}, not compressed`;
  if (!before) return sizeOf(received);
  return `${bytes(sent)} compressed, ${bytes(before)} uncompressed (${saved(sent, before)} saved)`;
}
