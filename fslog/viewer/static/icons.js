// Icons, and the badge of each state.
// Guarantees: icons are hidden from screen readers; a word always accompanies them.

import { el, svg } from "./dom.js";

const PATHS = {
  valid: "M3.5 8.5l3 3 6-7",
  warning: "M8 2.2 14.6 13.6H1.4zM8 6.4v3.4M8 11.6v.3",
  invalid: "M4 4l8 8M12 4l-8 8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10.4 10.4 14 14",
  filter: "M2 3.5h12M4.5 8h7M6.8 12.5h2.4",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  play: "M5 3.2v9.6l7.5-4.8z",
  trash: "M3 4.5h10M6.5 4.5V3h3v1.5M4.5 4.5l.6 8.5h5.8l.6-8.5",
  copy: "M6 6V3h7v7h-3M3 6h7v7H3z",
  close: "M4 4l8 8M12 4l-8 8",
  back: "M10 3 5 8l5 5",
  next: "M6 3l5 5-5 5",
  up: "M8 13V3.5M4 7.2 8 3l4 4.2",
  help: "M5.8 6a2.2 2.2 0 1 1 3.3 1.9c-.8.5-1.1.9-1.1 1.8M8 12.2v.3",
  live: "M2 8.5h2.6l1.6-4 2.6 7.5 1.6-4.5.7 1H14",
  overview: "M3 13V8.5M8 13V3M13 13V6",
  sessions: "M4 2.5v11M4 4.5h8M4 8h5.5M4 11.5h7",
  requests: "M2.5 5.5h9.5M9.5 3l2.7 2.5L9.5 8M13.5 10.5H4M6.5 8 3.8 10.5 6.5 13",
  plan: "M5 3.5H3.5v10h9v-10H11M5.5 2h5v3h-5zM5.5 8h5M5.5 10.8h3",
  server: "M3 3h10v4H3zM3 9h10v4H3zM5.2 5h.3M5.2 11h.3",
};

const WORDS = { valid: "valid", warning: "warning", invalid: "invalid" };

/** Return an icon of 16 by 16 pixels. */
export function icon(name) {
  const drawing = { viewBox: "0 0 16 16", class: `icon icon-${name}`, "aria-hidden": "true" };
  return svg("svg", { ...drawing, focusable: "false" }, svg("path", { d: PATHS[name] }));
}

/** Return the badge of a state: colour, icon and word. */
export function badge(state) {
  const known = WORDS[state] ? state : "invalid";
  return drawn(known, known, WORDS[known]);
}

/** Return the badge of an entry: that of its state, or `unplanned` if its event is not planned. */
export function badgeOf(entry) {
  return isUnplanned(entry) ? unplannedBadge() : badge(entry.state);
}

/** Return the badge of an event that is not planned. */
export function unplannedBadge() {
  return drawn("warning", "plan", "unplanned");
}

/** Return whether the event of an entry is not planned. */
export function isUnplanned({ problems }) {
  return problems.some((problem) => problem.code === "unplanned");
}

function drawn(state, name, word) {
  return el("span", { class: `badge is-${state}` }, icon(name), el("span", {}, word));
}
