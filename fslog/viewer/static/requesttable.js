// A table of requests, newest first.
// Promises: a retry says which request it repeats and which try it is; an answer is told by
// colour, sign and word; at a narrow width each request is a card.

import { leadingTo } from "./address.js";
import { el } from "./dom.js";
import { bytes, clock, count, saved } from "./format.js";
import { icon } from "./icons.js";
import { answerOf } from "./outcomes.js";
import { brief, isolated } from "./text.js";

const NONE = "–";
const HEADS = ["Request", "Arrived", "Answer", "Events", "Encoding", "Size", "Client"];

/** Return a table of these requests; `known` are all that can say which try one is. */
export function requestTable(requests, known, marked = null) {
  const tries = triesOf(known);
  const head = el(
    "thead",
    {},
    el(
      "tr",
      {},
      HEADS.map((name) => el("th", { scope: "col" }, name)),
    ),
  );
  const rows = requests.map((request) => requestRow(request, tries, request.id === marked));
  return el("table", { class: "requests" }, head, el("tbody", {}, rows));
}

/** Tell which try each request is: a Map from its id to a number from 1. */
export function triesOf(requests) {
  const roots = new Map();
  const seen = new Map();
  const tries = new Map();
  for (const request of [...requests].sort((a, b) => a.id - b.id)) {
    const root =
      request.retry_of === null ? request.id : (roots.get(request.retry_of) ?? request.retry_of);
    // A first try that is not kept any more was one all the same.
    const number = (seen.get(root) ?? (root === request.id ? 0 : 1)) + 1;
    roots.set(request.id, root);
    seen.set(root, number);
    tries.set(request.id, number);
  }
  return tries;
}

function requestRow(request, tries, isMarked) {
  const cells = [
    ["Request", [name(request), again(request, tries)]],
    ["Arrived", el("time", {}, clock(request.at))],
    ["Answer", answer(request)],
    ["Events", events(request)],
    ["Encoding", request.encoding || "none"],
    ["Size", size(request)],
    ["Client", request.user_agent ? isolated(brief(request.user_agent, 60)) : NONE],
  ];
  const look = {
    class: `${lookOf(request)}${isMarked ? " marked" : ""}`,
    "data-request": request.id,
  };
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

function again(request, tries) {
  if (request.retry_of === null) return null;
  const words = `try ${tries.get(request.id)}, again after #${request.retry_of}`;
  return el("span", { class: "again" }, words);
}

function answer(request) {
  const sign = isTaken(request) ? "valid" : request.status === null ? "invalid" : "warning";
  return el("span", { class: `answer is-${sign}` }, icon(sign), answerOf(request));
}

function events(request) {
  const total = request.events + request.invalid;
  if (total === 0) return "0";
  const wrong = request.invalid
    ? el("span", { class: "is-invalid" }, ` ${count(request.invalid)} invalid`)
    : null;
  const taken = request.kept ? "" : " not taken";
  const text = [count(total), taken, wrong];
  return request.kept
    ? el("a", leadingTo({ view: "live", filter: { request: request.id } }), text)
    : el("span", {}, text);
}

function size(request) {
  if (!request.encoding) return bytes(request.bytes_received);
  const share = saved(request.bytes_received, request.bytes_unpacked);
  return `${bytes(request.bytes_received)} of ${bytes(request.bytes_unpacked)}, ${share} saved`;
}

function isTaken(request) {
  return request.status === 200;
}

function lookOf(request) {
  if (isTaken(request)) return request.retry_of === null ? "good" : "good retry";
  return request.retry_of === null ? "bad" : "bad retry";
}
