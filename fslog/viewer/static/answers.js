// Answers of the endpoint in words.
// Guarantees: every view describes the same answer in the same words.

import { count } from "./format.js";

const REASONS = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  408: "Request Timeout",
  411: "Length Required",
  413: "Content Too Large",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};
const ENDS = {
  hang: "never answers",
  close: "closes the connection",
  reset: "resets the connection",
};

/** Return whether an answer is the real endpoint's own. */
export function isNormal(answer) {
  if (!answer) return true;
  return (
    (answer.status ?? 200) === 200 && (answer.then ?? "answer") === "answer" && !answer.delay
  );
}

/** Describe an answer: "answers 503 Service Unavailable, Retry-After 5 s". */
export function describe(answer) {
  if (isNormal(answer)) return "answers as the real endpoint does";
  const wait = answer.delay ? ` after ${answer.delay} s` : "";
  const end = ENDS[answer.then];
  if (end) return `${end}${wait}`;
  return `answers ${statusText(answer.status ?? 200)}${wait}${retryAfter(answer)}`;
}

/** Describe an answer in one or two words. */
export function short(answer) {
  if (isNormal(answer)) return "normal";
  if (answer.then && answer.then !== "answer")
    return { hang: "hangs", close: "closes", reset: "resets" }[answer.then];
  const status = answer.status ?? 200;
  return status === 200 ? `slow, ${answer.delay} s` : String(status);
}

/** 503 is "503 Service Unavailable". */
export function statusText(status) {
  return `${status} ${REASONS[status] || ""}`.trim();
}

/** Return the state of a request: "valid", "warning" or "invalid". */
export function stateOf(request) {
  if (request.status === null) return "invalid";
  if (request.status !== 200) return "warning";
  return !request.invalid ? "valid" : request.events ? "warning" : "invalid";
}

/** Describe the answer to a request; a 200 may hide dropped lines. */
export function answerText(request) {
  const scripted = request.scripted ? ", scripted" : "";
  if (request.status === null) {
    const end = {
      hang: "none: no response",
      close: "none: connection closed",
      reset: "none: connection reset",
    };
    return end[request.then] || "none";
  }
  const dropped = request.status === 200 && request.invalid;
  const which = request.events ? count(request.invalid) : "all";
  return `${statusText(request.status)}${scripted}${dropped ? `, but ${which} dropped` : ""}`;
}

function retryAfter(answer) {
  const found = Object.entries(answer.headers || {}).find(
    ([name]) => name.toLowerCase() === "retry-after",
  );
  return found ? `, Retry-After ${found[1]} s` : "";
}
