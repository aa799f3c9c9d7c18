// The overview: counts, the rate of events, and rankings.
// Guarantees: it is about a second old while visible, and makes no requests while hidden; it counts
// the filtered events; every link shows as many events as its count; a property that has too
// many values has a warning.

import { getOverview } from "./api.js";
import { linkTo } from "./address.js";
import { RateChart } from "./chart.js";
import { el, keepingFocus, replace, setText } from "./dom.js";
import { FilterBar, filterError } from "./filterbar.js";
import { bytes, count, counted, saved } from "./format.js";
import { badge, icon } from "./icons.js";
import { brief, isolated } from "./text.js";

const EVERY_MS = 1000;
const PAUSE_FACTOR = 4;

export class Overview {
  #timer = 0;
  #isShown = false;
  #drawn = "";
  #filter = {};
  #turn = 0;

  constructor() {
    this.filterBar = new FilterBar();
    this.chart = new RateChart();
    this.tiles = el("div", { class: "tiles" });
    this.tables = el("div", { class: "cards" });
    this.note = el("p", { class: "count-text" });
    this.warnings = el("div");
    this.refusal = el("div", { hidden: true });
    const head = el("header", { class: "head" }, el("h2", {}, "Overview"), this.note);
    this.shown = el("div", {}, this.warnings, this.tiles, this.chart.element, this.tables);
    const bar = el("div", { class: "bar" }, this.filterBar.element);
    const body = el("div", { class: "scroll" }, head, this.refusal, this.shown);
    this.element = el("div", { class: "view overview" }, bar, body);
  }

  show({ filter }) {
    this.filterBar.show(filter);
    const isSame = JSON.stringify(filter) === JSON.stringify(this.#filter);
    if (this.#isShown && isSame) return;
    this.hide();
    this.#isShown = true;
    this.#filter = filter;
    this.#load((this.#turn += 1));
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  // Showing the view or changing the filter starts a new turn; responses to old turns are ignored.
  async #load(turn) {
    const began = performance.now();
    const isOver = () => !this.#isShown || turn !== this.#turn;
    if (!document.hidden) {
      try {
        const counts = await getOverview(this.#filter);
        if (!isOver()) this.#draw(counts);
      } catch (error) {
        if (!isOver() && error.status) this.#refuse(error.message);
      }
    }
    if (isOver()) return;
    const pause = Math.max(EVERY_MS, PAUSE_FACTOR * (performance.now() - began));
    this.#timer = setTimeout(() => this.#load(turn), pause);
  }

  #refuse(reason) {
    this.refusal.hidden = false;
    this.shown.hidden = true;
    setText(this.note, "");
    if (this.#drawn !== reason) replace(this.refusal, filterError(reason));
    this.#drawn = reason;
  }

  #draw(counts) {
    this.refusal.hidden = true;
    this.shown.hidden = false;
    this.chart.show(counts.rate);
    const { rate, ...rest } = counts;
    const text = JSON.stringify([rest, this.#filter]);
    // Do not replace links (one may have the focus) unless something has changed.
    if (text === this.#drawn) return;
    this.#drawn = text;
    const evicted = counts.dropped
      ? `; the oldest ${counted(counts.dropped, "event was", "events were")} evicted`
      : "";
    const isAll = Object.keys(this.#filter).length === 0;
    const kept = counted(counts.total - counts.dropped, "event");
    const found = isAll ? kept : `${count(counts.kept)} of ${kept}`;
    setText(this.note, `${found}${evicted}`);
    const eventsLink = (filter) => linkTo({ view: "live", filter: { ...this.#filter, ...filter } });
    replace(this.warnings, counts.many_names.map(manyNames));
    keepingFocus(this.shown, () => {
      replace(this.tiles, tiles(counts, eventsLink));
      replace(this.tables, cards(counts, eventsLink));
    });
  }
}

function manyNames([property, values, one, other]) {
  const text = el("span", {}, `${property} has ${count(values)} values, such as “`);
  text.append(isolated(brief(one, 60)), "” and “", isolated(brief(other, 60)));
  text.append(
    "”: Freshsuccess shows each as one of its own. Write a fixed text in the log call or the " +
      "rule, and give what varies a property of its own.",
  );
  return el("p", { class: "note is-warning" }, icon("warning"), text);
}

function tiles(counts, eventsLink) {
  const share = saved(counts.bytes_received, counts.bytes_unpacked);
  const size = `${bytes(counts.bytes_received)} sent instead of ${bytes(counts.bytes_unpacked)}`;
  const failed = counts.failed_requests
    ? `${count(counts.failed_requests)} without a 200 answer`
    : "all answered with 200";
  return [
    stateTile(eventsLink, "valid", counts.valid, "accepted"),
    stateTile(eventsLink, "warning", counts.warning, "accepted, but probably not as intended"),
    stateTile(eventsLink, "invalid", counts.invalid, "would be silently dropped"),
    tile("requests", count(counts.requests), counts.requests ? failed : "", { view: "requests" }),
    tile("saved by compression", share, counts.bytes_unpacked ? size : ""),
  ];
}

function stateTile(eventsLink, state, number, text) {
  return el(
    "a",
    { class: `tile is-${state}`, ...eventsLink({ state }) },
    badge(state),
    el("strong", {}, count(number)),
    el("small", {}, text),
  );
}

function tile(name, number, text, place) {
  const content = [
    el("span", { class: "name" }, name),
    el("strong", {}, number),
    el("small", {}, text),
  ];
  return place
    ? el("a", { class: "tile", ...linkTo(place) }, content)
    : el("div", { class: "tile" }, content);
}

function cards(counts, eventsLink) {
  const by =
    (key) =>
    ([name]) => ({ [key]: name });
  const feature = ([, , module, name]) => ({
    ...(module ? { module } : {}),
    ...(name ? { feature: name } : {}),
  });
  const card = (title, rows, filterOf, empty) =>
    ranking(title, rows, (row) => eventsLink(filterOf(row)), empty);
  return [
    card("Actions", counts.actions, by("action")),
    card("Problems", counts.problems, by("problem"), "No problems."),
    card("Top features", counts.features, feature),
    card("Top modules", counts.modules, by("module")),
    card(`Accounts (${count(counts.accounts.count)})`, counts.accounts.top, by("account")),
    card(`Users (${count(counts.users.count)})`, counts.users.top, by("user")),
  ];
}

function ranking(title, rows, placeOf, empty = "None yet.") {
  const most = Math.max(...rows.map((row) => row[1]), 1);
  const list = el(
    "ol",
    { class: "ranks" },
    rows.slice(0, 10).map((row) => rank(row, most, placeOf(row))),
  );
  return el(
    "section",
    { class: "card" },
    el("h3", {}, title),
    rows.length ? list : el("p", { class: "none" }, empty),
  );
}

function rank(row, most, place) {
  const share = el("span", { class: "share", "aria-hidden": "true" });
  share.style.width = `${Math.max(1, (100 * row[1]) / most)}%`;
  const name = isolated(brief(row[0], 60), { class: "name", title: brief(row[0], 200) });
  return el(
    "li",
    {},
    el("a", place, name, el("b", {}, count(row[1])), share),
  );
}
