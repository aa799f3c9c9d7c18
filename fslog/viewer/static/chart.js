// Bar chart of events per second.
// Guarantees: a text alternative states the same facts; a redraw reuses the elements.

import { el, setText, svg } from "./dom.js";
import { count } from "./format.js";

const HEIGHT = 100;

export class RateChart {
  #counts = [];
  #from = 0;

  constructor() {
    this.bars = svg("path", { class: "bars" });
    this.at = svg("line", { class: "at", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.drawing = svg(
      "svg",
      { preserveAspectRatio: "none", role: "img" },
      this.#grid(),
      this.bars,
      this.at,
    );
    this.top = el("span", {});
    this.half = el("span", {});
    this.left = el("span", {});
    this.caption = el("output", { class: "count-text" });
    const plot = el(
      "div",
      {
        class: "plot",
        on: { pointermove: (event) => this.#point(event), pointerleave: () => this.#leave() },
      },
      this.drawing,
    );
    const axis = el(
      "div",
      { class: "axis", "aria-hidden": "true" },
      this.left,
      el("span", {}, "now"),
    );
    const scale = el(
      "div",
      { class: "scale", "aria-hidden": "true" },
      this.top,
      this.half,
      el("span", {}, "0"),
    );
    const caption = el("figcaption", {}, el("span", {}, "Events per second"), this.caption);
    this.element = el(
      "figure",
      { class: "chart" },
      caption,
      el("div", { class: "frame" }, scale, plot, axis),
    );
  }

  /** Draw counts, one per second up to now; `from` is the epoch second of the first. */
  show({ from, counts }) {
    this.#counts = counts;
    this.#from = from;
    const most = ceiling(Math.max(...counts, 0));
    this.drawing.setAttribute("viewBox", `0 0 ${counts.length} ${HEIGHT}`);
    this.bars.setAttribute("d", outline(counts, most));
    setText(this.top, count(most));
    setText(this.half, most > 1 ? count(most / 2) : "");
    setText(this.left, `${Math.round(counts.length / 60)} min ago`);
    this.drawing.setAttribute("aria-label", this.#sentence());
    if (this.at.getAttribute("visibility") === "hidden") this.#leave();
  }

  #sentence() {
    const total = this.#counts.reduce((sum, number) => sum + number, 0);
    const minutes = Math.round(this.#counts.length / 60);
    const most = count(Math.max(...this.#counts, 0));
    return `${count(total)} events in the last ${minutes} minutes, at most ${most} per second`;
  }

  #grid() {
    return svg(
      "g",
      { class: "grid" },
      [0.5, HEIGHT / 2].map((y) => svg("line", { x1: 0, x2: "100%", y1: y, y2: y })),
    );
  }

  #point(event) {
    const box = this.drawing.getBoundingClientRect();
    const index = Math.floor(((event.clientX - box.left) / box.width) * this.#counts.length);
    if (!(index >= 0 && index < this.#counts.length)) return;
    for (const end of ["x1", "x2"]) this.at.setAttribute(end, index + 0.5);
    this.at.setAttribute("visibility", "visible");
    const at = new Date((this.#from + index) * 1000);
    setText(this.caption, `${at.toTimeString().slice(0, 8)}: ${count(this.#counts[index])}`);
  }

  #leave() {
    this.at.setAttribute("visibility", "hidden");
    setText(this.caption, this.#sentence());
  }
}

/** Return the smallest of 1, 2, 4, 10, 20, 40, 100... that is not below a value. */
export function ceiling(value) {
  let size = 1;
  while (size * 10 < value) size *= 10;
  return [1, 2, 4, 10].map((step) => step * size).find((step) => step >= value) ?? size * 10;
}

function outline(counts, most) {
  const parts = counts.map((number, index) => {
    if (!number) return "";
    // A single event among thousands must stay visible.
    const height = Math.max(2, (number / most) * HEIGHT);
    return `M${index + 0.1} ${HEIGHT}v${-height}h0.8v${height}z`;
  });
  return parts.join("");
}
