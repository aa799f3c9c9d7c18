// What the endpoint answers, in words.
// Promises: the same words for the same outcome on every view.

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

/** Tell whether an outcome is as the real endpoint does it. */
export function isGood(outcome) {
  if (!outcome) return true;
  return (
    (outcome.status ?? 200) === 200 && (outcome.then ?? "answer") === "answer" && !outcome.delay
  );
}

/** Describe an outcome: "answers 503 Service Unavailable, Retry-After 5 s". */
export function describe(outcome) {
  if (isGood(outcome)) return "answers as the real endpoint does";
  const wait = outcome.delay ? ` after ${outcome.delay} s` : "";
  const end = ENDS[outcome.then];
  if (end) return `${end}${wait}`;
  return `answers ${statusText(outcome.status ?? 200)}${wait}${retryAfter(outcome)}`;
}

/** Describe an outcome in a word or two, for a small place. */
export function short(outcome) {
  if (isGood(outcome)) return "good";
  if (outcome.then && outcome.then !== "answer")
    return { hang: "hangs", close: "closes", reset: "resets" }[outcome.then];
  const status = outcome.status ?? 200;
  return status === 200 ? `slow, ${outcome.delay} s` : String(status);
}

/** 503 is "503 Service Unavailable". */
export function statusText(status) {
  return `${status} ${REASONS[status] || ""}`.trim();
}

/** Tell how a request fared: "valid", "warning" or "invalid". */
export function signOf(request) {
  if (request.status === null) return "invalid";
  if (request.status !== 200) return "warning";
  return !request.invalid ? "valid" : request.events ? "warning" : "invalid";
}

/** Say what a request was answered; a 200 is not all that a wrong line needs. */
export function answerOf(request) {
  const scripted = request.scripted ? ", as the bad server" : "";
  if (request.status === null) {
    const end = {
      hang: "none: it hung",
      close: "none: the connection was closed",
      reset: "none: the connection was reset",
    };
    return end[request.then] || "none";
  }
  const dropped = request.status === 200 && request.invalid;
  const which = request.events ? count(request.invalid) : "everything";
  return `${statusText(request.status)}${scripted}${dropped ? `, but ${which} dropped` : ""}`;
}

function retryAfter(outcome) {
  const found = Object.entries(outcome.headers || {}).find(
    ([name]) => name.toLowerCase() === "retry-after",
  );
  return found ? `, Retry-After ${found[1]} s` : "";
}
