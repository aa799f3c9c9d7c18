// A table of requests, newest first; cards on narrow screens.
// Guarantees: a retry names the request that it repeats; an answer has a colour, an icon and words,
// a refusal its reason; unchanged rows are not redrawn.

import { linkTo } from "./address.js";
import { el } from "./dom.js";
import { clock, count, sizeOf } from "./format.js";
import { icon } from "./icons.js";
import { answerText, stateOf } from "./answers.js";
import { brief, isolated } from "./text.js";

const NONE = "–";
const HEADS = ["Request", "Arrived", "Answer", "Events", "Encoding", "Size", "Client"];

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

  /** Show requests in their order; `marked` is the id of a request to highlight. */
  show(requests, marked = null) {
    const wanted = new Set(requests.map((request) => request.id));
    for (const [id, row] of this.#rows) {
      if (!wanted.has(id)) this.#drop(id, row);
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
    ["Request", [name(request), retryNote(request)]],
    ["Arrived", el("time", {}, clock(request.at))],
    ["Answer", answer(request)],
    ["Events", events(request)],
    ["Encoding", request.encoding || "none"],
    ["Size", sizeOf(request)],
    ["Client", request.user_agent ? isolated(brief(request.user_agent, 60)) : NONE],
  ];
  const attributes = { class: classOf(request), "data-request": request.id };
  const cell = ([label, content]) =>
    el(
      "td",
      { "data-label": label, class: content === NONE ? "is-empty-cell" : null },
      el("span", {}, content),
    );
  return el("tr", attributes, cells.map(cell));
}

function name(request) {
  const text = `${brief(request.method, 12)} ${brief(request.path, 60)}`;
  return el("span", { class: "what" }, el("b", {}, `#${request.id}`), " ", isolated(text));
}

function retryNote(request) {
  if (request.retry_of === null) return null;
  const text = `attempt ${request.try}, retry of #${request.retry_of}`;
  return el("span", { class: "retry-note" }, text);
}

function answer(request) {
  const sign = stateOf(request);
  const text = el("span", { class: `answer is-${sign}` }, icon(sign), answerText(request));
  const reason = request.reason ? el("span", { class: "reason" }, brief(request.reason, 200)) : null;
  return [text, reason];
}

function events(request) {
  const { events: valid, invalid, kept, id } = request;
  if (valid + invalid === 0) return "0";
  const bad = invalid ? el("span", { class: "is-invalid" }, `${count(invalid)} invalid`) : null;
  const good = !invalid ? count(valid) : valid ? `${count(valid)} valid, ` : null;
  if (!kept) return el("span", {}, good, bad, " not accepted");
  return el("a", linkTo({ view: "live", filter: { request: id } }), good, bad);
}

function classOf(request) {
  const name = request.status === 200 && stateOf(request) !== "invalid" ? "good" : "bad";
  return request.retry_of === null ? name : `${name} retry`;
}
