// A virtual list: only the visible rows are in the document.
// Guarantees: the number of elements depends on the window's height only; the focused row stays in
// the document; rows are not redrawn while scrolling; if the height of rows changes, the active row
// keeps its place on the screen.

import { el } from "./dom.js";

const OVERSCAN = 6;
// Browsers limit the height of an element to about 17 million pixels.
const MOST_PX = 15_000_000;

export class RowList {
  #rows = new Map();
  #active = null;
  #at = -1; // last known position of the active row
  #target = null; // position that becomes active as soon as its entry is loaded
  #height = 40;
  #scroll = 0;
  #edge = null;
  #drawing = 0;
  #isFocusing = false;

  /**
   * @param source `{length(), at(position), positionOf(id), load(first, last)}`
   * @param draw returns the element of an entry
   * @param callbacks `{open(entry), active(entry), top(isAtTop)}`; `active` after a step
   */
  constructor(label, source, draw, callbacks) {
    this.source = source;
    this.draw = draw;
    this.callbacks = callbacks;
    this.sizer = el("div", { class: "sizer", role: "presentation" });
    const on = { scroll: () => this.#scrolled(), keydown: (event) => this.#key(event) };
    this.element = el(
      "div",
      { class: "rows", role: "listbox", tabindex: "0", "aria-label": label, on },
      this.sizer,
    );
    this.element.addEventListener("click", (event) => this.#click(event));
    this.element.addEventListener("focus", () => this.#focused());
    new ResizeObserver(() => this.update()).observe(this.element);
  }

  /** Draw in the next frame. */
  update() {
    if (!this.#drawing) this.#drawing = requestAnimationFrame(() => this.#render());
  }

  /** Discard all rows and start at the top, for a new list. */
  reset() {
    for (const [id, row] of this.#rows) this.#drop(id, row);
    this.#active = this.#target = null;
    this.#at = -1;
    this.element.scrollTop = 0;
    this.#render();
  }

  get isAtTop() {
    return this.element.scrollTop < this.#height / 2;
  }

  get activeId() {
    return this.#active;
  }

  /** Make an entry active; pass its position if it is not loaded yet. */
  activate(id, position = this.source.positionOf(id)) {
    this.#active = id;
    this.#at = position;
    this.#target = null;
    if (position >= 0) this.#reveal(position);
    this.#render();
  }

  /** Move the active row by a number of rows, once the entry there is loaded. */
  step(by, isFocused = true) {
    const most = this.#shown() - 1;
    if (most < 0) return;
    const at = this.#target ?? this.#activePosition();
    const isNowhere = at < 0 && Number.isFinite(by);
    this.#moveTo(isNowhere ? this.#firstSeen() : Math.min(most, Math.max(0, at + by)), isFocused);
    if (this.#target === null) this.callbacks.active(this.source.at(this.#at));
  }

  /** Scroll to the active row; the list may have been hidden when it became active. */
  reveal() {
    this.#measure();
    const position = this.#activePosition();
    if (position >= 0) this.#reveal(position);
    this.#render();
  }

  /** Focus the active row, or the list if there is none. */
  focus() {
    this.#isFocusing = true;
    (this.#rows.get(this.#active) || this.element).focus({ preventScroll: true });
    this.#isFocusing = false;
  }

  #shown() {
    return Math.min(this.source.length(), Math.floor(MOST_PX / this.#height));
  }

  #firstSeen() {
    return Math.ceil(this.element.scrollTop / this.#height);
  }

  #activePosition() {
    const position = this.#active === null ? -1 : this.source.positionOf(this.#active);
    return position < 0 ? this.#at : position;
  }

  #moveTo(position, isFocused = true) {
    this.#target = position;
    this.#reveal(position);
    this.#reachTarget();
    this.#render();
    if (isFocused) this.focus();
  }

  // Drawing loads an entry that is missing.
  #reachTarget() {
    const entry = this.#target === null ? undefined : this.source.at(this.#target);
    if (!entry) return null;
    this.#active = entry.id;
    this.#at = this.#target;
    this.#target = null;
    return entry;
  }

  #reveal(position) {
    const top = position * this.#height;
    const view = this.element;
    if (top < view.scrollTop) view.scrollTop = top;
    else if (top + this.#height > view.scrollTop + view.clientHeight) {
      view.scrollTop = top + this.#height - view.clientHeight;
    }
  }

  #render() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    const reached = this.#reachTarget();
    this.#measure();
    const shown = this.#shown();
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.#height) - OVERSCAN);
    const seen = Math.ceil(this.element.clientHeight / this.#height) + 2 * OVERSCAN;
    const last = Math.min(shown, first + seen) - 1;
    this.sizer.style.height = `${shown * this.#height}px`;
    this.#place(this.#needed(first, last), shown);
    if (last >= first) this.source.load(first, last);
    this.#scroll = this.element.scrollTop;
    this.#edge = this.element.getBoundingClientRect().top;
    const isFocused = document.activeElement === this.element;
    if (isFocused && this.#rows.has(this.#active)) this.focus();
    if (reached) this.callbacks.active(reached);
  }

  // The style sheet defines the height of a row, depending on the width.
  #measure() {
    const height = parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    if (!(height > 0) || height === this.#height) return;
    const before = this.#height;
    this.#height = height;
    const edge = this.element.getBoundingClientRect().top;
    if (this.#edge === null) return;
    const seen = this.#anchorPosition(before);
    this.sizer.style.height = `${this.#shown() * height}px`;
    this.element.scrollTop = this.#scroll + seen * (height - before) + edge - this.#edge;
  }

  // The active row if it is visible, else the first visible row.
  #anchorPosition(height) {
    const at = this.#activePosition();
    const top = at * height - this.#scroll;
    const isSeen = at >= 0 && top > -height && top < this.element.clientHeight;
    return isSeen ? at : Math.ceil(this.#scroll / height);
  }

  #needed(first, last) {
    const needed = new Map();
    for (let position = first; position <= last; position += 1) {
      const entry = this.source.at(position);
      if (entry) needed.set(entry.id, [position, entry]);
    }
    const position = this.#active === null ? -1 : this.source.positionOf(this.#active);
    if (position >= 0) {
      this.#at = position;
      needed.set(this.#active, [position, this.source.at(position)]);
    }
    return needed;
  }

  #place(needed, shown) {
    for (const [id, row] of this.#rows) {
      if (!needed.has(id)) this.#drop(id, row);
    }
    let before = null;
    for (const [id, [position, entry]] of [...needed].sort((a, b) => a[1][0] - b[1][0])) {
      const row = this.#rows.get(id) || this.#make(entry);
      row.style.transform = `translateY(${position * this.#height}px)`;
      row.setAttribute("aria-posinset", position + 1);
      row.setAttribute("aria-setsize", shown);
      row.setAttribute("aria-selected", id === this.#active);
      row.tabIndex = id === this.#active ? 0 : -1;
      const next = before ? before.nextSibling : this.sizer.firstChild;
      if (row !== next) this.sizer.insertBefore(row, next);
      before = row;
    }
    this.element.tabIndex = this.#rows.has(this.#active) ? -1 : 0;
  }

  #make(entry) {
    const row = this.draw(entry);
    row.setAttribute("role", "option");
    row.dataset.id = entry.id;
    this.#rows.set(entry.id, row);
    return row;
  }

  #drop(id, row) {
    if (row === document.activeElement) this.element.focus({ preventScroll: true });
    row.remove();
    this.#rows.delete(id);
  }

  #scrolled() {
    this.#scroll = this.element.scrollTop;
    this.callbacks.top(this.isAtTop);
    this.update();
  }

  #focused() {
    if (this.#isFocusing || this.#active !== null || !this.source.length()) return;
    this.#moveTo(this.#firstSeen());
  }

  #click(event) {
    const row = event.target.closest("[role=option]");
    if (!row || String(window.getSelection())) return;
    const position = this.source.positionOf(Number(row.dataset.id));
    if (position < 0) return;
    this.#moveTo(position);
    this.callbacks.open(this.source.at(position));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#height) - 1);
    const steps = {
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key in steps) {
      event.preventDefault();
      this.step(steps[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const entry = this.source.at(this.source.positionOf(this.#active));
      if (entry) this.callbacks.open(entry);
    }
  }
}
