// The view of what arrives: filter, list, and one entry in full beside it.
// Promises: the newest is at the top while one is at the top; whoever pauses, reads further down,
// or has an event open, is not disturbed and sees how many wait.

import { announce, announceArrivals } from "./announce.js";
import { clearEvents } from "./api.js";
import { go, read } from "./address.js";
import { confirm } from "./dialog.js";
import { Detail } from "./detail.js";
import { button, el, replace, say } from "./dom.js";
import { EntryList } from "./entrylist.js";
import { FilterBar } from "./filterbar.js";
import { count, counted } from "./format.js";
import { icon } from "./icons.js";
import { RowList } from "./rowlist.js";
import { drawRow } from "./row.js";
import { noneFound, refused } from "./nothing.js";
import { setupBlock } from "./setup.js";

const HEADINGS = [
  ["state", "State"],
  ["time", "Arrived"],
  ["action", "Action"],
  ["what", "What"],
  ["account", "Account"],
  ["user", "User"],
  ["session", "Session"],
];

export class Live {
  #paused = false;
  #news = new Set();
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
      stream.addEventListener(name, () => this.entries.news());
    for (const name of ["cleared", "anew"]) stream.addEventListener(name, () => this.#startAnew());
  }

  /** Show a place of this view. */
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

  /** Stop taking new rows in, or go on. */
  togglePause() {
    this.#paused = !this.#paused;
    this.#hold();
    announce(this.#paused ? "Paused" : "Live again");
    this.#draw();
  }

  /** Go to a newer or an older entry, and show it where one is open. */
  step(by) {
    this.rows.step(by);
  }

  /** Show the entry that the keyboard is at. */
  openActive() {
    if (this.rows.activeId !== null) go({ view: "live", id: this.rows.activeId });
  }

  /** Leave the open entry; tells whether there was one. */
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
      want: (first, last) => this.entries.want(first, last),
    };
    return new RowList(
      "Events, newest first",
      source,
      (entry) => drawRow(entry, this.#news.has(entry.id)),
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
    this.told = el("p", { class: "told", id: "live-count" });
    this.above = button("", () => this.#toTop(), { class: "above", hidden: true });
    this.gone = el("p", { class: "gone", hidden: true });
    this.nothing = el("div", { class: "nothing", hidden: true });
    const heads = el(
      "div",
      { class: "heads", "aria-hidden": "true" },
      HEADINGS.map(([name, text]) => el("span", { class: `cell ${name}` }, text)),
    );
    const bar = el(
      "div",
      { class: "bar" },
      this.filterBar.element,
      el("div", { class: "tools" }, this.told, this.pause, this.clear),
    );
    this.list = el(
      "section",
      { class: "list", "aria-label": "Events" },
      heads,
      this.above,
      this.rows.element,
      this.nothing,
      this.gone,
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
    // Where there is no room the list is not seen, so that nothing in it can have the focus.
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
    this.#news.clear();
    this.entries.restart(filter);
  }

  #startAnew() {
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
    this.entries.letIn();
    this.rows.focus();
  }

  #changed({ arrived, count: number = 0, isAnew = false }) {
    this.#news = new Set(arrived.map((entry) => entry.id));
    const wrong = arrived.filter((entry) => entry.state !== "valid").length;
    if (number) announceArrivals(number, wrong);
    this.#refusal = "";
    if (isAnew) this.#begin();
    else this.rows.update();
    this.#draw();
  }

  #begin() {
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
    const kept = this.stream.hello ? "A file given by --store is left alone." : "";
    if (
      await confirm(
        "Forget all events?",
        `Every event and request leaves the viewer's memory. ${kept}`,
        "Forget all",
      )
    ) {
      await clearEvents().catch(() => announce("The server does not answer"));
    }
  }

  #draw() {
    const { length, waiting, newest, loaded, dropped } = this.entries;
    const isFiltered = Object.keys(read().filter).length > 0;
    const found = `${counted(length, "event")}${isFiltered ? " found" : ""}`;
    say(this.told, this.#refusal ? "" : loaded ? found : "Loading");
    this.#drawPause(waiting);
    this.above.hidden = !waiting || this.#paused;
    replace(this.above, icon("up"), `${counted(waiting, "newer event")}`);
    this.gone.hidden = !dropped;
    say(
      this.gone,
      `The oldest ${counted(dropped, "event has", "events have")} left: ` +
        `memory keeps the newest ${count(this.stream.hello?.keep)}.`,
    );
    const isEmpty = this.#refusal !== "" || (loaded && length === 0);
    this.#drawNothing(isEmpty, isFiltered && newest > 0);
  }

  #drawPause(waiting) {
    const state = `${this.#paused} ${waiting}`;
    if (this.pause.dataset.state === state) return;
    this.pause.dataset.state = state;
    this.pause.setAttribute("aria-pressed", this.#paused);
    const words = this.#paused ? `Resume${waiting ? `, ${count(waiting)} waiting` : ""}` : "Pause";
    replace(this.pause, icon(this.#paused ? "play" : "pause"), el("span", {}, words));
  }

  // Drawn on a change only: a snippet that is being copied must not be replaced by itself.
  #drawNothing(isEmpty, isFiltered) {
    const empty = isFiltered ? "filtered" : `empty ${this.entries.newest > 0}`;
    const kind = isEmpty ? this.#refusal || empty : "";
    if (this.nothing.dataset.kind === kind) return;
    this.nothing.dataset.kind = kind;
    this.nothing.hidden = !isEmpty;
    this.list.classList.toggle("is-empty", isEmpty);
    const endpoint = this.stream.hello?.endpoint || location.origin;
    if (this.#refusal) replace(this.nothing, refused(this.#refusal));
    else if (isFiltered) replace(this.nothing, noneFound());
    else
      replace(this.nothing, isEmpty ? setupBlock(endpoint, "Waiting for the first event") : null);
  }
}
