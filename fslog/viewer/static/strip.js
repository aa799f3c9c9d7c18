// A session at a glance: when in its time something happened.
// Promises: decoration only; the timeline beneath says the same in words.

import { svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 28;

/** Draw marks, given as `[{at, state}...]` in order. */
export function strip(marks) {
  const from = marks[0].at;
  const span = Math.max(1, marks[marks.length - 1].at - from);
  const place = (at) => (4 + ((at - from) / span) * (WIDTH - 8)).toFixed(1);
  const lines = ["valid", "warning", "invalid"].map((state) => {
    const path = marks
      .filter((mark) => mark.state === state)
      .map((mark) => `M${place(mark.at)} 4v${HEIGHT - 8}`);
    return svg("path", { class: `is-${state}`, d: path.join("") });
  });
  const shape = {
    class: "strip",
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  };
  return svg("svg", shape, lines);
}
