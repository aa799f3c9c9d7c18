// The live view: filter, list of events, and the details of one event.
// Guarantees: new events appear at the top; while the list is paused, scrolled down, or an event is
// open, the list does not move, and the number of new events is shown.

import { announce, announceArrivals } from "./announce.js";
import { clearEvents } from "./api.js";
import { go, read } from "./address.js";
import { confirm } from "./dialog.js";
import { Detail } from "./detail.js";
import { button, el, replace, setText } from "./dom.js";
import { EntryList } from "./entrylist.js";
import { FilterBar, filterError, noMatches } from "./filterbar.js";
import { count, counted } from "./format.js";
import { icon } from "./icons.js";
import { RowList } from "./rowlist.js";
import { drawRow } from "./row.js";
import { setupBlock } from "./setup.js";

const HEADINGS = [
  ["state", "State"],
  ["time", "Arrived"],
  ["action", "Action"],
  ["what", "Subject"],
  ["account", "Account"],
  ["user", "User"],
  ["session", "Session"],
];

export class Live {
  #paused = false;
  #newIds = new Set();
  #filter = null;
  #refusal = "";

  constructor(stream) {
    this.stream = stream;
    this.entries = new EntryList(
      (change) => this.#changed(change),
      (error) => this.#failed(error),
    );
    this.filterBar = new FilterBar();
    this.detail = new Detail({ close: () => this.closeEntry(), step: (by) => this.rows.step(by, false) });
    this.rows = this.#rowList();
    this.element = this.#layout();
    this.#draw();
    for (const name of ["hello", "entries"])
      stream.addEventListener(name, () => this.entries.refresh());
    for (const name of ["cleared", "restarted"]) stream.addEventListener(name, () => this.#startOver());
  }

  /** Show a place. */
  show({ filter, id }) {
    this.filterBar.show(filter);
    const key = JSON.stringify(filter);
    if (key !== this.#filter) {
      this.#filter = key;
      this.#restart(filter);
    }
    if (/^\d{1,15}$/.test(id)) this.#openDetail(Number(id));
    else if (this.detail.isOpen) this.#closeDetail();
    this.rows.update();
  }

  /** Pause or resume adding new events. */
  togglePause() {
    this.#paused = !this.#paused;
    this.#hold();
    announce(this.#paused ? "Paused" : "Resumed");
    this.#draw();
  }

  /** Move to a newer or older entry, and show its details if details are open. */
  step(by) {
    this.rows.step(by);
  }

  /** Open the active entry. */
  openActive() {
    if (this.rows.activeId !== null) go({ view: "live", id: this.rows.activeId });
  }

  /** Close the open entry; return whether there was one. */
  closeEntry() {
    if (!this.detail.isOpen) return false;
    go({ view: "live" });
    this.rows.reveal();
    this.rows.focus();
    return true;
  }

  search() {
    this.filterBar.search.focus();
    this.filterBar.search.select();
  }

  #rowList() {
    const source = {
      length: () => this.entries.length,
      at: (position) => this.entries.at(position),
      positionOf: (id) => this.entries.positionOf(id),
      load: (first, last) => this.entries.load(first, last),
    };
    return new RowList(
      "Events, newest first",
      source,
      (entry) => drawRow(entry, this.#newIds.has(entry.id)),
      {
        open: (entry) => go({ view: "live", id: entry.id }, !this.detail.isOpen),
        active: (entry) => this.detail.isOpen && go({ view: "live", id: entry.id }, false),
        top: () => this.#hold(),
      },
    );
  }

  #layout() {
    this.pause = el("button", {
      type: "button",
      class: "toggle pause",
      on: { click: () => this.togglePause() },
    });
    this.clear = button(
      "Clear",
      () => this.#clear(),
      { class: "toggle clear" },
      icon("trash"),
      el("span", {}, "Clear"),
    );
    this.count = el("p", { class: "count-text", id: "live-count" });
    this.newerEvents = button("", () => this.#toTop(), { class: "newer-events", hidden: true });
    this.evicted = el("p", { class: "evicted", hidden: true });
    this.empty = el("div", { class: "empty", hidden: true });
    const heads = el(
      "div",
      { class: "heads", "aria-hidden": "true" },
      HEADINGS.map(([name, text]) => el("span", { class: `cell ${name}` }, text)),
    );
    const bar = el(
      "div",
      { class: "bar" },
      this.filterBar.element,
      el("div", { class: "tools" }, this.count, this.pause, this.clear),
    );
    this.list = el(
      "section",
      { class: "list", "aria-label": "Events" },
      heads,
      this.newerEvents,
      this.rows.element,
      this.empty,
      this.evicted,
    );
    this.panes = el("div", { class: "panes" }, this.list, this.detail.element);
    return el(
      "div",
      { class: "view live" },
      el("h2", { class: "unseen" }, "Live"),
      bar,
      this.panes,
    );
  }

  #openDetail(id) {
    this.panes.classList.add("with-detail");
    this.detail.open(id);
    this.#hold();
    if (this.rows.activeId !== id) this.#activate(id);
    // On a narrow screen the list is hidden and cannot have the focus.
    if (this.list.offsetParent === null) this.detail.element.focus();
  }

  async #activate(id) {
    this.rows.activate(id);
    const position = await this.entries.find(id);
    if (position >= 0 && this.detail.id === id) this.rows.activate(id, position);
  }

  #closeDetail() {
    this.panes.classList.remove("with-detail");
    this.detail.close();
    this.#hold();
  }

  #restart(filter) {
    this.#newIds.clear();
    this.entries.restart(filter);
  }

  #startOver() {
    if (read().id && read().view === "live") go({ view: "live" }, false);
    this.#closeDetail();
    this.#restart(read().filter);
  }

  #hold() {
    if (this.#paused || this.detail.isOpen || !this.rows.isAtTop) this.entries.hold();
    else this.entries.release();
    this.#draw();
  }

  #toTop() {
    this.rows.element.scrollTop = 0;
    if (this.#paused) this.togglePause();
    this.#hold();
    this.entries.addWaiting();
    this.rows.focus();
  }

  #changed({ arrived, count: number = 0, isReset = false }) {
    this.#newIds = new Set(arrived.map((entry) => entry.id));
    const problems = arrived.filter((entry) => entry.state !== "valid").length;
    if (number) announceArrivals(number, problems);
    this.#refusal = "";
    if (isReset) this.#resetRows();
    else this.rows.update();
    this.#draw();
  }

  #resetRows() {
    this.rows.reset();
    if (this.detail.isOpen) this.#activate(this.detail.id);
    this.#hold();
  }

  #failed(error) {
    if (error.status === 0) return;
    this.#refusal = error.message;
    this.#draw();
  }

  async #clear() {
    const kept = this.stream.hello ? "The file of --store is not changed." : "";
    if (
      await confirm(
        "Clear all events?",
        `All events and requests are removed from the viewer's memory. ${kept}`,
        "Clear all",
      )
    ) {
      await clearEvents().catch(() => announce("The viewer does not respond"));
    }
  }

  #draw() {
    const { length, waiting, newest, loaded, dropped } = this.entries;
    const isFiltered = Object.keys(read().filter).length > 0;
    const found = `${counted(length, "event")}${isFiltered ? " found" : ""}`;
    setText(this.count, this.#refusal ? "" : loaded ? found : "Loading");
    this.#drawPause(waiting);
    this.newerEvents.hidden = !waiting || this.#paused;
    replace(this.newerEvents, icon("up"), `${counted(waiting, "newer event")}`);
    this.evicted.hidden = !dropped;
    setText(
      this.evicted,
      `The oldest ${counted(dropped, "event was", "events were")} evicted: ` +
        `the viewer keeps at most ${count(this.stream.hello?.keep)}.`,
    );
    const isEmpty = this.#refusal !== "" || (loaded && length === 0);
    this.#drawEmpty(isEmpty, isFiltered && newest > 0);
  }

  #drawPause(waiting) {
    const state = `${this.#paused} ${waiting}`;
    if (this.pause.dataset.state === state) return;
    this.pause.dataset.state = state;
    this.pause.setAttribute("aria-pressed", this.#paused);
    const text = this.#paused ? `Resume${waiting ? `, ${count(waiting)} waiting` : ""}` : "Pause";
    replace(this.pause, icon(this.#paused ? "play" : "pause"), el("span", {}, text));
  }

  // Redrawn only on a change, so that a snippet is not replaced while it is being copied.
  #drawEmpty(isEmpty, isFiltered) {
    const empty = isFiltered ? "filtered" : `empty ${this.entries.newest > 0}`;
    const kind = isEmpty ? this.#refusal || empty : "";
    if (this.empty.dataset.kind === kind) return;
    this.empty.dataset.kind = kind;
    this.empty.hidden = !isEmpty;
    this.list.classList.toggle("is-empty", isEmpty);
    const endpoint = this.stream.hello?.endpoint || location.origin;
    if (this.#refusal) replace(this.empty, filterError(this.#refusal));
    else if (isFiltered) replace(this.empty, noMatches());
    else
      replace(this.empty, isEmpty ? setupBlock(endpoint, "Waiting for the first event") : null);
  }
}
