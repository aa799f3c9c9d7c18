// The view of every POST: what it bore, what it was answered, and which are retries.
// Promises: a request that is named in the address is marked and brought into sight.

import { el, keepingFocus, replace, say } from "./dom.js";
import { counted } from "./format.js";
import { requestTable } from "./requesttable.js";

export class Requests {
  #marked = null;
  #isShown = false;
  #drawing = 0;

  constructor(log) {
    this.log = log;
    this.told = el("p", { class: "told" });
    this.body = el("div", { class: "scroll" });
    this.element = el(
      "div",
      { class: "view requests-view" },
      el("header", { class: "head" }, el("h2", {}, "Requests"), this.told),
      this.body,
    );
    log.addEventListener("changed", () => this.#soon());
  }

  show({ id }) {
    this.#isShown = true;
    const marked = id ? Number(id) : null;
    const isOther = marked !== this.#marked;
    this.#marked = marked;
    this.#draw();
    if (isOther) this.body.querySelector(".marked")?.scrollIntoView({ block: "center" });
  }

  hide() {
    this.#isShown = false;
  }

  #soon() {
    if (this.#isShown && !this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#drawing = 0;
    const { requests, total } = this.log;
    const failed = requests.filter((request) => request.status !== 200).length;
    const retries = requests.filter((request) => request.retry_of !== null).length;
    const shown =
      requests.length < total
        ? `newest ${counted(requests.length, "request")} of ${total}`
        : counted(total, "request");
    say(
      this.told,
      requests.length
        ? `${shown}, ${failed} not answered 200, ${counted(retries, "retry", "retries")}`
        : "",
    );
    const none = el("p", { class: "note" }, "No request has arrived yet.");
    const table = requests.length ? requestTable(requests, requests, this.#marked) : none;
    keepingFocus(this.body, () => replace(this.body, table));
  }
}
