// The view that simulates failures of the endpoint.
// Guarantees: the active answer is marked; the requests below show retries as they arrive.

import { linkTo } from "./address.js";
import { el, replace } from "./dom.js";
import { counted } from "./format.js";
import { describe, isNormal } from "./answers.js";
import { RequestTable } from "./requesttable.js";

const CHOICES = [
  ["400", "Bad Request, as for invalid keys", { status: 400 }],
  ["413", "Content Too Large: send smaller batches", { status: 413 }],
  [
    "429",
    "Too Many Requests, retry after 10\u00a0s",
    { status: 429, headers: { "Retry-After": "10" } },
  ],
  ["500", "Internal Server Error", { status: 500 }],
  ["503", "Service Unavailable, retry after 5\u00a0s", { status: 503, headers: { "Retry-After": "5" } }],
  ["Slow", "The normal answer, after 3\u00a0s", { status: 200, delay: 3 }],
  ["Hang", "No response", { then: "hang" }],
  ["Close", "The connection is closed", { then: "close" }],
  ["Reset", "The connection is reset", { then: "reset" }],
];
const SHOWN = 12;

export class Failures {
  #isShown = false;
  #drawing = 0;

  constructor(endpoint, log) {
    this.endpoint = endpoint;
    this.log = log;
    this.state = el("p", { class: "current-answer" });
    const restore = () => this.#do(() => endpoint.restore());
    this.normal = choiceButton("Normal", "The real endpoint's answer", restore, "choice normal");
    this.choices = CHOICES.map((choice) => this.#choice(choice));
    this.table = new RequestTable();
    this.none = el("p", { class: "note" }, "No requests yet.");
    this.recent = el("div", { class: "recent" }, this.table.element, this.none);
    this.times = this.#timesSelect();
    this.element = this.#layout();
    endpoint.addEventListener("changed", () => this.#draw());
    log.addEventListener("changed", () => this.#soon());
    this.#draw();
  }

  show() {
    this.#isShown = true;
    this.#drawRequests();
  }

  hide() {
    this.#isShown = false;
  }

  #layout() {
    const intro =
      "Test how your application handles an endpoint that rejects, delays or drops requests: " +
      "it should keep its events and retry.";
    const all = el("a", linkTo({ view: "requests" }), "All requests");
    return el(
      "div",
      { class: "view server-view scroll" },
      el("header", { class: "head" }, el("h2", {}, "Simulate failures")),
      el("p", { class: "intro" }, intro),
      this.state,
      el(
        "div",
        { class: "choices", role: "group", "aria-label": "Answer of the endpoint" },
        this.normal,
        this.choices,
      ),
      el("p", { class: "how-long" }, el("label", { for: "how-long" }, "Applies to"), this.times),
      this.#custom(),
      el("header", { class: "head" }, el("h3", {}, "Recent requests"), all),
      this.recent,
    );
  }

  #timesSelect() {
    const options = [
      [0, "all requests"],
      [1, "the next request"],
      [3, "the next 3 requests"],
      [10, "the next 10 requests"],
    ];
    return el(
      "select",
      { id: "how-long" },
      options.map(([value, text]) => el("option", { value }, text)),
    );
  }

  #choice([name, text, answer]) {
    const press = () => this.#setAnswer(answer);
    const button = choiceButton(name, text, press, "choice");
    button.dataset.answer = JSON.stringify(canonical(answer));
    return button;
  }

  #custom() {
    const status = el("input", {
      type: "number",
      min: "200",
      max: "599",
      value: "502",
      id: "custom-status",
      required: true,
    });
    const wait = el("input", { type: "number", min: "0", max: "900", id: "custom-retry" });
    const delay = el("input", {
      type: "number",
      min: "0",
      max: "600",
      step: "any",
      value: "0",
      id: "custom-delay",
    });
    const submit = (event) => {
      event.preventDefault();
      const headers = wait.value ? { "Retry-After": wait.value } : {};
      this.#setAnswer({ status: Number(status.value), delay: Number(delay.value || 0), headers });
    };
    const field = (label, input) =>
      el("div", { class: "field" }, el("label", { for: input.id }, label), input);
    const fields = [
      field("Status", status),
      field("Retry-After, s", wait),
      field("Delay, s", delay),
      el("button", {}, "Apply"),
    ];
    return el(
      "details",
      { class: "custom" },
      el("summary", {}, "Custom answer"),
      el("form", { on: { submit } }, fields),
    );
  }

  #setAnswer(answer) {
    this.#do(() => this.endpoint.setAnswer(answer, Number(this.times.value)));
  }

  // The stream delivers the new state.
  async #do(action) {
    try {
      await action();
    } catch (error) {
      replace(this.state, error.message);
    }
  }

  #draw() {
    const { standing, script } = this.endpoint;
    const isAllNormal = isNormal(standing) && script.length === 0;
    const now = JSON.stringify(canonical(standing));
    this.normal.setAttribute("aria-pressed", isAllNormal);
    for (const choice of this.choices) {
      choice.setAttribute("aria-pressed", !isNormal(standing) && choice.dataset.answer === now);
    }
    const next = script.length ? `For the next ${counted(script.length, "request")}, the` : "The";
    const first = script.length ? `${describe(script[0])}; then it ` : "";
    this.state.classList.toggle("is-bad", !isAllNormal);
    replace(this.state, `${next} endpoint ${first}${describe(standing)}.`);
  }

  #soon() {
    if (this.#isShown && !this.#drawing)
      this.#drawing = requestAnimationFrame(() => this.#drawRequests());
  }

  #drawRequests() {
    this.#drawing = 0;
    const requests = this.log.requests.slice(0, SHOWN);
    this.table.show(requests);
    this.table.element.hidden = requests.length === 0;
    this.none.hidden = requests.length > 0;
  }
}

function choiceButton(name, text, click, className) {
  const content = [el("b", {}, name), " ", el("span", {}, text)];
  return el("button", { type: "button", class: className, on: { click } }, content);
}

// Different spellings of one answer compare equal.
function canonical(answer) {
  if (!answer) return null;
  const { status = 200, headers = {}, delay = 0, then = "answer" } = answer;
  const named = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
  return { status: then === "answer" ? status : 0, headers: named, delay, then };
}
