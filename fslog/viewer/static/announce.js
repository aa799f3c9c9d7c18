// Announcements for screen readers.
// Guarantees: results of actions are announced at once; arriving events at most every ten seconds,
// as one count.

import { counted } from "./format.js";

const INTERVAL_MS = 10_000;
let arrived = 0;
let withProblems = 0;
let timer = 0;

/** Announce a sentence when the screen reader is idle. */
export function announce(sentence) {
  const place = document.getElementById("announcer");
  // Screen readers ignore a text that does not change.
  place.textContent = place.textContent === sentence ? `${sentence}\u00a0` : sentence;
}

/** Count arrived events, and announce the sum later. */
export function announceArrivals(count, problems) {
  arrived += count;
  withProblems += problems;
  if (arrived && !timer) timer = setTimeout(announceCount, INTERVAL_MS);
}

function announceCount() {
  const problems = withProblems ? `, ${withProblems} of them with problems` : "";
  if (!document.hidden) announce(`${counted(arrived, "new event")}${problems}`);
  arrived = withProblems = timer = 0;
}
