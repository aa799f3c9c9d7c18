// The view to be the bad server: what the endpoint answers, and what the application makes of it.
// Promises: what is in force is marked; the requests beneath show the retries as they arrive.

import { leadingTo } from "./address.js";
import { el, replace } from "./dom.js";
import { counted } from "./format.js";
import { describe, isGood } from "./outcomes.js";
import { RequestTable } from "./requesttable.js";

const CHOICES = [
  ["400", "Bad Request: the keys are wrong", { status: 400 }],
  ["413", "Too large: make smaller batches", { status: 413 }],
  [
    "429",
    "Too many requests, come back in 10 s",
    { status: 429, headers: { "Retry-After": "10" } },
  ],
  ["500", "Internal Server Error", { status: 500 }],
  ["503", "Unavailable, come back in 5 s", { status: 503, headers: { "Retry-After": "5" } }],
  ["Slow", "A right answer, after 3 s", { status: 200, delay: 3 }],
  ["Hang", "Never an answer", { then: "hang" }],
  ["Close", "The connection is closed", { then: "close" }],
  ["Reset", "The connection is reset", { then: "reset" }],
];
const SHOWN = 12;

export class BadServer {
  #isShown = false;
  #drawing = 0;

  constructor(endpoint, log) {
    this.endpoint = endpoint;
    this.log = log;
    this.state = el("p", { class: "behaviour" });
    const good = () => this.#do(() => endpoint.beGood());
    this.good = choiceButton("Good", "As the real endpoint answers", good, "choice good");
    this.choices = CHOICES.map((choice) => this.#choice(choice));
    this.table = new RequestTable();
    this.none = el("p", { class: "note" }, "Nothing has arrived yet.");
    this.arrivals = el("div", { class: "arrivals" }, this.table.element, this.none);
    this.times = this.#timesSelect();
    this.element = this.#layout();
    endpoint.addEventListener("changed", () => this.#draw());
    log.addEventListener("changed", () => this.#soon());
    this.#draw();
  }

  show() {
    this.#isShown = true;
    this.#drawArrivals();
  }

  hide() {
    this.#isShown = false;
  }

  #layout() {
    const words =
      "Watch the application survive: what it sends is refused, delayed or lost, " +
      "and it has to keep its events and try again.";
    const all = el("a", leadingTo({ view: "requests" }), "All requests");
    return el(
      "div",
      { class: "view server-view scroll" },
      el("header", { class: "head" }, el("h2", {}, "Be the bad server")),
      el("p", { class: "lead" }, words),
      this.state,
      el(
        "div",
        { class: "choices", role: "group", "aria-label": "What the endpoint does" },
        this.good,
        this.choices,
      ),
      el("p", { class: "how-long" }, el("label", { for: "how-long" }, "How long"), this.times),
      this.#custom(),
      el("header", { class: "head" }, el("h3", {}, "What arrives now"), all),
      this.arrivals,
    );
  }

  #timesSelect() {
    const options = [
      [0, "until it is good again"],
      [1, "the next request only"],
      [3, "the next 3 requests"],
      [10, "the next 10 requests"],
    ];
    return el(
      "select",
      { id: "how-long" },
      options.map(([value, text]) => el("option", { value }, text)),
    );
  }

  #choice([name, words, outcome]) {
    const press = () => this.#behave(outcome);
    const made = choiceButton(name, words, press, "choice");
    made.dataset.outcome = JSON.stringify(plain(outcome));
    return made;
  }

  #custom() {
    const status = el("input", {
      type: "number",
      min: "200",
      max: "599",
      value: "502",
      id: "own-status",
      required: true,
    });
    const wait = el("input", { type: "number", min: "0", max: "900", id: "own-retry" });
    const delay = el("input", {
      type: "number",
      min: "0",
      max: "600",
      step: "any",
      value: "0",
      id: "own-delay",
    });
    const submit = (event) => {
      event.preventDefault();
      const headers = wait.value ? { "Retry-After": wait.value } : {};
      this.#behave({ status: Number(status.value), delay: Number(delay.value || 0), headers });
    };
    const field = (label, input) =>
      el("div", { class: "field" }, el("label", { for: input.id }, label), input);
    const fields = [
      field("Status", status),
      field("Retry-After, s", wait),
      field("Delay, s", delay),
      el("button", {}, "Answer so"),
    ];
    return el(
      "details",
      { class: "own" },
      el("summary", {}, "An answer of your own"),
      el("form", { on: { submit } }, fields),
    );
  }

  #behave(outcome) {
    this.#do(() => this.endpoint.behave(outcome, Number(this.times.value)));
  }

  // What came of it arrives by the stream.
  async #do(action) {
    try {
      await action();
    } catch (error) {
      replace(this.state, error.message);
    }
  }

  #draw() {
    const { standing, script } = this.endpoint;
    const isAllGood = isGood(standing) && script.length === 0;
    const now = JSON.stringify(plain(standing));
    this.good.setAttribute("aria-pressed", isAllGood);
    for (const choice of this.choices) {
      choice.setAttribute("aria-pressed", !isGood(standing) && choice.dataset.outcome === now);
    }
    const next = script.length ? `For the next ${counted(script.length, "request")} the` : "The";
    const first = script.length ? `${describe(script[0])}; then it ` : "";
    this.state.classList.toggle("is-bad", !isAllGood);
    replace(this.state, `${next} endpoint ${first}${describe(standing)}.`);
  }

  #soon() {
    if (this.#isShown && !this.#drawing)
      this.#drawing = requestAnimationFrame(() => this.#drawArrivals());
  }

  #drawArrivals() {
    this.#drawing = 0;
    const requests = this.log.requests.slice(0, SHOWN);
    this.table.show(requests);
    this.table.element.hidden = requests.length === 0;
    this.none.hidden = requests.length > 0;
  }
}

// Its name is what is seen of it.
function choiceButton(name, words, click, look) {
  const content = [el("b", {}, name), " ", el("span", {}, words)];
  return el("button", { type: "button", class: look, on: { click } }, content);
}

// Two spellings of one outcome are one outcome.
function plain(outcome) {
  if (!outcome) return null;
  const { status = 200, headers = {}, delay = 0, then = "answer" } = outcome;
  const named = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
  return { status: then === "answer" ? status : 0, headers: named, delay, then };
}
