// A table of requests, newest first.
// Promises: a retry says which request it repeats and which try it is; an answer is told by
// colour, sign and word, and a refusal by its reason; a row that stays is not drawn again; at a
// narrow width each request is a card.

import { leadingTo } from "./address.js";
import { el } from "./dom.js";
import { clock, count, sizeOf } from "./format.js";
import { icon } from "./icons.js";
import { answerOf, signOf } from "./outcomes.js";
import { brief, isolated } from "./text.js";

const NONE = "–";
const HEADS = ["Request", "Arrived", "Answer", "Events", "Encoding", "Size", "Client"];

/** A table of requests that grows and shrinks by the rows that come and go. */
export class RequestTable {
  #rows = new Map();

  constructor() {
    const heads = HEADS.map((name) => el("th", { scope: "col" }, name));
    this.body = el("tbody", {});
    this.element = el(
      "table",
      { class: "requests" },
      el("thead", {}, el("tr", {}, heads)),
      this.body,
    );
  }

  /** Show these requests in their order; one of them may be marked by its id. */
  show(requests, marked = null) {
    const meant = new Set(requests.map((request) => request.id));
    for (const [id, row] of this.#rows) {
      if (!meant.has(id)) this.#drop(id, row);
    }
    let next = this.body.firstChild;
    for (const request of requests) {
      const row = this.#rows.get(request.id) ?? this.#make(request);
      row.classList.toggle("marked", request.id === marked);
      if (row === next) next = next.nextSibling;
      else this.body.insertBefore(row, next);
    }
  }

  /** Return the row of a request, if it is shown. */
  row(id) {
    return this.#rows.get(id);
  }

  #make(request) {
    const row = requestRow(request);
    this.#rows.set(request.id, row);
    return row;
  }

  #drop(id, row) {
    row.remove();
    this.#rows.delete(id);
  }
}

function requestRow(request) {
  const cells = [
    ["Request", [name(request), again(request)]],
    ["Arrived", el("time", {}, clock(request.at))],
    ["Answer", answer(request)],
    ["Events", events(request)],
    ["Encoding", request.encoding || "none"],
    ["Size", sizeOf(request)],
    ["Client", request.user_agent ? isolated(brief(request.user_agent, 60)) : NONE],
  ];
  const look = { class: lookOf(request), "data-request": request.id };
  const cell = ([label, content]) =>
    el(
      "td",
      { "data-label": label, class: content === NONE ? "lacks" : null },
      el("span", {}, content),
    );
  return el("tr", look, cells.map(cell));
}

function name(request) {
  const text = `${brief(request.method, 12)} ${brief(request.path, 60)}`;
  return el("span", { class: "what" }, el("b", {}, `#${request.id}`), " ", isolated(text));
}

function again(request) {
  if (request.retry_of === null) return null;
  const words = `try ${request.try}, again after #${request.retry_of}`;
  return el("span", { class: "again" }, words);
}

function answer(request) {
  const sign = signOf(request);
  const words = el("span", { class: `answer is-${sign}` }, icon(sign), answerOf(request));
  const why = request.reason ? el("span", { class: "reason" }, brief(request.reason, 200)) : null;
  return [words, why];
}

function events(request) {
  const { events: right, invalid: wrong, kept, id } = request;
  if (right + wrong === 0) return "0";
  const bad = wrong ? el("span", { class: "is-invalid" }, `${count(wrong)} invalid`) : null;
  const good = !wrong ? count(right) : right ? `${count(right)} valid, ` : null;
  if (!kept) return el("span", {}, good, bad, " not taken");
  return el("a", leadingTo({ view: "live", filter: { request: id } }), good, bad);
}

function lookOf(request) {
  const look = request.status === 200 && signOf(request) !== "invalid" ? "good" : "bad";
  return request.retry_of === null ? look : `${look} retry`;
}
