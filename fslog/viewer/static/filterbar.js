// The filter: a search field, a switch for problems, and a field for each property.
// Guarantees: it shows and writes the filter in the address; typing is one step for the back
// button; fields suggest known values. Each filtered view has its own.

import { getOverview } from "./api.js";
import { go, read } from "./address.js";
import { button, el, replace } from "./dom.js";
import { icon } from "./icons.js";
import { brief, isolated } from "./text.js";

const FIELDS = [
  ["action", "Action"],
  ["module", "Module"],
  ["feature", "Feature"],
  ["account", "Account"],
  ["user", "User"],
  ["session", "Session"],
  ["problem", "Problem"],
];
const STATES = [
  ["", "any"],
  ["valid", "valid"],
  ["problems", "problems"],
  ["warning", "warning"],
  ["invalid", "invalid"],
];
const TYPING_MS = 200;

export class FilterBar {
  #typing = 0;
  #isTyping = false;
  #isOwn = false;

  constructor() {
    this.search = this.#input("q", "search", "Search lines and problems");
    this.search.placeholder = "Search";
    this.problems = el(
      "button",
      { type: "button", class: "toggle", on: { click: () => this.#onlyProblems() } },
      icon("warning"),
      el("span", {}, "Only problems"),
    );
    this.more = el(
      "button",
      {
        type: "button",
        class: "toggle",
        "aria-expanded": "false",
        "aria-controls": "filter-fields",
        on: { click: () => this.#toggle() },
      },
      icon("filter"),
      el("span", {}, "Filter"),
    );
    this.inputs = Object.fromEntries(
      FIELDS.map(([key, name]) => [key, this.#input(key, "text", name)]),
    );
    this.state = el(
      "select",
      { id: "filter-state", on: { change: () => this.#write({ state: this.state.value }) } },
      STATES.map(([key, name]) => el("option", { value: key }, name)),
    );
    this.fields = this.#fields();
    this.chips = el("ul", { class: "chips", "aria-label": "Active filters" });
    const search = el(
      "div",
      { class: "search" },
      icon("search"),
      this.search,
      el("kbd", { "aria-hidden": "true" }, "/"),
    );
    const line = el("div", { class: "filter-line" }, search, this.problems, this.more);
    this.element = el(
      "div",
      { class: "filter", role: "search", "aria-label": "Filter the events" },
      line,
      this.fields,
      this.chips,
    );
  }

  /** Show a filter. */
  show(filter) {
    for (const key of ["q", ...Object.keys(this.inputs)]) {
      const input = key === "q" ? this.search : this.inputs[key];
      const text = filter[key] || "";
      if (input.value !== text && !(this.#isOwn && input === document.activeElement))
        input.value = text;
    }
    const isKnown = STATES.some(([state]) => state === filter.state);
    this.state.value = isKnown ? filter.state : "";
    this.problems.setAttribute("aria-pressed", filter.state === "problems");
    replace(
      this.chips,
      Object.entries(filter)
        .filter(([key]) => key !== "q")
        .map((pair) => this.#chip(pair)),
    );
    const isFiltered = Object.keys(filter).length > 0;
    if (isFiltered)
      this.chips.append(
        el(
          "li",
          {},
          button("Clear all", () => this.#replace({}), { class: "link" }),
        ),
      );
  }

  #fields() {
    const cells = FIELDS.map(([key, name]) => {
      const list = el("datalist", { id: `known-${key}` });
      this.inputs[key].setAttribute("list", list.id);
      return el(
        "div",
        { class: "field" },
        el("label", { for: `filter-${key}` }, name),
        this.inputs[key],
        list,
      );
    });
    const state = el(
      "div",
      { class: "field" },
      el("label", { for: "filter-state" }, "State"),
      this.state,
    );
    return el("div", { class: "fields", id: "filter-fields", hidden: true }, cells, state);
  }

  #input(key, type, label) {
    const on = {
      input: () => this.#type(),
      change: () => this.#commit(),
      blur: () => (this.#isTyping = false),
    };
    const named = key === "q" ? { "aria-label": label } : {};
    return el("input", {
      type,
      id: `filter-${key}`,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      ...named,
      on,
    });
  }

  #toggle() {
    this.fields.hidden = !this.fields.hidden;
    this.more.setAttribute("aria-expanded", !this.fields.hidden);
    if (this.fields.hidden) return;
    this.#suggest();
    this.inputs.action.focus();
  }

  #onlyProblems() {
    this.#write({ state: read().filter.state === "problems" ? "" : "problems" });
  }

  #type() {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#commit(), TYPING_MS);
  }

  #commit() {
    clearTimeout(this.#typing);
    const values = { q: this.search.value };
    for (const [key, input] of Object.entries(this.inputs)) values[key] = input.value;
    const isStep = !this.#isTyping;
    this.#isTyping = this.#isOwn = true;
    this.#write(values, isStep);
    this.#isOwn = false;
  }

  #write(values, isStep = true) {
    const filter = { ...read().filter, ...values };
    go({ filter: Object.fromEntries(Object.entries(filter).filter(([, value]) => value)) }, isStep);
  }

  // The chip that had the focus no longer exists.
  #replace(filter) {
    go({ filter });
    this.more.focus();
  }

  #chip([key, value]) {
    const remove = () => {
      const { [key]: removed, ...filter } = read().filter;
      this.#replace(filter);
    };
    const label = `Remove the filter ${key} ${brief(value, 40)}`;
    const name = el("span", { class: "key" }, key);
    const content = [name, " ", isolated(brief(value, 40)), icon("close")];
    return el("li", {}, button(label, remove, { class: "chip" }, ...content));
  }

  async #suggest() {
    const known = await getOverview().catch(() => null);
    if (!known) return;
    const sessions = known.sessions.map((session) => [session.sessionId]);
    const features = known.features.map(([, , , feature]) => [feature]);
    const lists = {
      action: known.actions,
      module: known.modules,
      feature: features,
      account: known.accounts.top,
      user: known.users.top,
      session: sessions,
      problem: known.problems,
    };
    for (const [key, rows] of Object.entries(lists)) {
      const names = [
        ...new Set(rows.map(([name]) => name).filter((name) => typeof name === "string" && name)),
      ];
      replace(
        document.getElementById(`known-${key}`),
        names.slice(0, 50).map((name) => el("option", { value: name })),
      );
    }
  }
}

/** Return the notice for a filter that no event matches. */
export function noMatches() {
  return notice("No event matches", "Matching events will appear here as they arrive.");
}

/** Return the notice for a filter that the server rejects. */
export function filterError(reason) {
  return notice("Invalid filter", `The viewer reports: ${reason}.`);
}

function notice(title, text) {
  const clear = button("Clear the filter", () => go({ filter: {} }), { class: "primary" });
  return el("section", { class: "setup" }, el("h2", {}, title), el("p", {}, text), clear);
}
