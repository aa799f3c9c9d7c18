// What a screen reader is told without being asked.
// Promises: what a person did is told at once; what arrives by itself at most every ten seconds,
// as one count.

import { counted } from "./format.js";

const QUIET_MS = 10_000;
let arrived = 0;
let wrong = 0;
let waiting = 0;

/** Say a sentence politely. */
export function announce(sentence) {
  const place = document.getElementById("announcer");
  // The same sentence twice would not be read out twice.
  place.textContent = place.textContent === sentence ? `${sentence}\u00a0` : sentence;
}

/** Count arrivals, to be told together. */
export function announceArrivals(count, problems) {
  arrived += count;
  wrong += problems;
  if (arrived && !waiting) waiting = setTimeout(tell, QUIET_MS);
}

function tell() {
  const problems = wrong ? `, ${wrong} of them with problems` : "";
  if (!document.hidden) announce(`${counted(arrived, "new event")}${problems}`);
  arrived = wrong = waiting = 0;
}
