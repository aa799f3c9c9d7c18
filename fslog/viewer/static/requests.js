// The view of all requests to the endpoint, with their answers and retries.
// Guarantees: every kept request can be reached; new ones appear as they arrive. `#requests/7`
// marks a request and scrolls to it, `#requests/7-` shows the page that starts with it.

import { getRequests } from "./api.js";
import { linkTo } from "./address.js";
import { el, keepingFocus, replace, setText } from "./dom.js";
import { count, counted } from "./format.js";
import { PAGE } from "./requestlog.js";
import { RequestTable } from "./requesttable.js";

const NEWER = PAGE / 2;
const NOT_KEPT = "is not kept: it was cleared or evicted from memory.";

export class Requests {
  #marked = null;
  #last = Infinity;
  #older = [];
  #mustScroll = false;
  #isLoaded = false;
  #isShown = false;
  #isFiltered = false;
  #drawing = 0;
  #drawnPages = "";

  constructor(log) {
    this.log = log;
    this.count = el("p", { class: "count-text" });
    this.table = new RequestTable();
    this.note = el("p", { class: "note", hidden: true });
    this.pages = el("p", { class: "pages" });
    this.body = el("div", { class: "scroll" }, this.note, this.table.element, this.pages);
    this.element = el(
      "div",
      { class: "view requests-view" },
      el("header", { class: "head" }, el("h2", {}, "Requests"), this.count),
      this.body,
    );
    log.addEventListener("changed", () => this.#soon());
  }

  show({ id, filter }) {
    this.#isShown = true;
    this.#isFiltered = Object.keys(filter).length > 0;
    const [, number, page] = /^(\d{1,15})(-?)$/.exec(id) ?? [];
    const marked = number && !page ? Number(number) : null;
    const last = !number ? Infinity : page ? Number(number) : marked + NEWER;
    const isOther = marked !== this.#marked || last !== this.#last;
    this.#marked = marked;
    this.#last = last;
    if (isOther) this.#loadPage();
    this.#draw();
  }

  hide() {
    this.#isShown = false;
  }

  // Older requests do not change, so they are loaded once.
  async #loadPage() {
    const last = this.#last;
    this.#older = [];
    this.#mustScroll = this.#marked !== null;
    this.#isLoaded = false;
    this.body.scrollTop = 0;
    if (last === Infinity) return;
    const answer = await getRequests({ before: last + 1, limit: PAGE }).catch(() => null);
    if (last !== this.#last) return;
    this.#older = answer?.requests ?? [];
    this.#isLoaded = answer !== null;
    this.#draw();
  }

  #soon() {
    if (this.log.requests.length === 0) this.#older = [];
    if (this.#isShown && !this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  #rows() {
    const found = new Map();
    for (const one of [...this.#older, ...this.log.requests]) found.set(one.id, one);
    const wanted = [...found.values()].filter((one) => one.id <= this.#last);
    return wanted.sort((a, b) => b.id - a.id).slice(0, PAGE);
  }

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    const requests = this.#rows();
    this.table.show(requests, this.#marked);
    this.table.element.hidden = requests.length === 0;
    const isMissing = this.#marked && this.#isLoaded && !this.table.row(this.#marked);
    this.note.hidden = requests.length > 0 && !isMissing;
    setText(this.note, isMissing ? `Request #${this.#marked} ${NOT_KEPT}` : "No requests yet.");
    setText(this.count, requests.length ? this.#sentence(requests) : "");
    this.#drawPages(requests);
    const row = this.#mustScroll && this.table.row(this.#marked);
    if (!row) return;
    this.#mustScroll = false;
    row.scrollIntoView({ block: "center" });
  }

  #sentence(requests) {
    const { total } = this.log;
    const failed = requests.filter((request) => request.status !== 200).length;
    const retries = requests.filter((request) => request.retry_of !== null).length;
    const [from, to] = [requests[requests.length - 1].id, requests[0].id];
    const shown =
      requests.length < total
        ? `#${from} to #${to} of ${counted(total, "request")}`
        : counted(total, "request");
    const facts = `${count(failed)} without a 200 answer, ${counted(retries, "retry", "retries")}`;
    return `${shown}, ${facts}${this.#isFiltered ? ". The filter applies to events only" : ""}`;
  }

  #drawPages(requests) {
    const { oldest } = this.log;
    const newest = this.log.requests[0]?.id ?? 0;
    const [top, end] = [requests[0]?.id, requests[requests.length - 1]?.id];
    const links = [
      top < newest && ["Newest requests", ""],
      top < newest && [`Newer than #${top}`, `${top + PAGE}-`],
      end > oldest && [`Older than #${end}`, `${end - 1}-`],
    ].filter(Boolean);
    const drawn = JSON.stringify(links);
    if (drawn === this.#drawnPages) return;
    this.#drawnPages = drawn;
    const elements = links.map(([text, id]) => el("a", linkTo({ view: "requests", id }), text));
    keepingFocus(this.pages, () => replace(this.pages, elements));
  }
}
