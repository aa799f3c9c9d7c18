// The view for people who would rather look than read.
// Promises: it is at most a second or so old while it is seen, and asks nothing while it is not;
// every name leads to its events.

import { getOverview } from "./api.js";
import { leadingTo } from "./address.js";
import { RateChart } from "./chart.js";
import { el, keepingFocus, replace, say } from "./dom.js";
import { bytes, count, counted, saved } from "./format.js";
import { badge } from "./icons.js";
import { brief, isolated } from "./text.js";

const EVERY_MS = 1000;
const REST = 4;

export class Overview {
  #timer = 0;
  #isShown = false;
  #seen = "";

  constructor() {
    this.chart = new RateChart();
    this.tiles = el("div", { class: "tiles" });
    this.tables = el("div", { class: "cards" });
    this.note = el("p", { class: "told" });
    const head = el("header", { class: "head" }, el("h2", {}, "Overview"), this.note);
    this.element = el(
      "div",
      { class: "view overview scroll" },
      head,
      this.tiles,
      this.chart.element,
      this.tables,
    );
  }

  show() {
    if (this.#isShown) return;
    this.#isShown = true;
    this.#load();
  }

  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  async #load() {
    const began = performance.now();
    if (!document.hidden) {
      const seen = await getOverview().catch(() => null);
      if (seen && this.#isShown) this.#draw(seen);
    }
    const pause = Math.max(EVERY_MS, REST * (performance.now() - began));
    if (this.#isShown) this.#timer = setTimeout(() => this.#load(), pause);
  }

  #draw(seen) {
    this.chart.show(seen.rate);
    const { rate, ...rest } = seen;
    const text = JSON.stringify(rest);
    // A link that has the focus must not be replaced each second for nothing.
    if (text === this.#seen) return;
    this.#seen = text;
    const left = seen.dropped
      ? ` The oldest ${counted(seen.dropped, "event has", "events have")} left memory.`
      : "";
    say(this.note, `Over the ${counted(seen.kept, "event")} that are kept.${left}`);
    keepingFocus(this.element, () => {
      replace(this.tiles, tiles(seen));
      replace(this.tables, cards(seen));
    });
  }
}

function tiles(seen) {
  const share = saved(seen.bytes_received, seen.bytes_unpacked);
  const size = `${bytes(seen.bytes_received)} sent instead of ${bytes(seen.bytes_unpacked)}`;
  const failed = seen.failed_requests
    ? `${count(seen.failed_requests)} not answered 200`
    : "all answered 200";
  return [
    stateTile("valid", seen.valid, "taken as they should be"),
    stateTile("warning", seen.warning, "taken, but odd"),
    stateTile("invalid", seen.invalid, "would be dropped in silence"),
    tile("requests", count(seen.requests), seen.requests ? failed : "", { view: "requests" }),
    tile("saved by compression", share, seen.bytes_unpacked ? size : ""),
  ];
}

function stateTile(state, number, words) {
  const place = leadingTo({ view: "live", filter: { state } });
  return el(
    "a",
    { class: `tile is-${state}`, ...place },
    badge(state),
    el("strong", {}, count(number)),
    el("small", {}, words),
  );
}

function tile(name, number, words, place) {
  const content = [
    el("span", { class: "name" }, name),
    el("strong", {}, number),
    el("small", {}, words),
  ];
  return place
    ? el("a", { class: "tile", ...leadingTo(place) }, content)
    : el("div", { class: "tile" }, content);
}

function cards(seen) {
  const by =
    (key) =>
    ([name]) => ({ [key]: name });
  const feature = ([, , module, name]) => ({
    ...(module ? { module } : {}),
    ...(name ? { feature: name } : {}),
  });
  return [
    card("Actions", seen.actions, by("action")),
    card(
      "Problems",
      seen.problems,
      () => ({ state: "problems" }),
      "No problems. Everything is taken as it should be.",
    ),
    card("Top features", seen.features, feature),
    card("Top modules", seen.modules, by("module")),
    card(`Accounts (${count(seen.accounts.count)})`, seen.accounts.top, by("account")),
    card(`Users (${count(seen.users.count)})`, seen.users.top, by("user")),
  ];
}

function card(title, rows, filterOf, none = "None yet.") {
  const most = Math.max(...rows.map((row) => row[1]), 1);
  const list = el(
    "ol",
    { class: "ranks" },
    rows.slice(0, 10).map((row) => rank(row, most, filterOf(row))),
  );
  return el(
    "section",
    { class: "card" },
    el("h3", {}, title),
    rows.length ? list : el("p", { class: "none" }, none),
  );
}

function rank(row, most, filter) {
  const share = el("span", { class: "share", "aria-hidden": "true" });
  share.style.width = `${Math.max(1, (100 * row[1]) / most)}%`;
  const name = isolated(brief(row[0], 60), { class: "name", title: brief(row[0], 200) });
  return el(
    "li",
    {},
    el("a", leadingTo({ view: "live", filter }), name, el("b", {}, count(row[1])), share),
  );
}
