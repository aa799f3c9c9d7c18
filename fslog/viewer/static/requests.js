// The view of every POST: what it bore, what it was answered, and which are retries.
// Promises: every request that the server keeps can be reached, the newest appear by themselves;
// one that is named in the address is marked, brought into sight, and stays there. `#requests/7`
// names one, `#requests/7-` those from there on.

import { getRequests } from "./api.js";
import { leadingTo } from "./address.js";
import { el, keepingFocus, replace, say } from "./dom.js";
import { count, counted } from "./format.js";
import { HELD } from "./requestlog.js";
import { RequestTable } from "./requesttable.js";

const NEWER = HELD / 2;
const LEFT = "is not kept: it was cleared, or the oldest have left memory.";

export class Requests {
  #marked = null;
  #last = Infinity;
  #older = [];
  #isAwaited = false;
  #isLoaded = false;
  #isShown = false;
  #isFiltered = false;
  #drawing = 0;
  #turned = "";

  constructor(log) {
    this.log = log;
    this.told = el("p", { class: "told" });
    this.table = new RequestTable();
    this.note = el("p", { class: "note", hidden: true });
    this.pages = el("p", { class: "pages" });
    this.body = el("div", { class: "scroll" }, this.note, this.table.element, this.pages);
    this.element = el(
      "div",
      { class: "view requests-view" },
      el("header", { class: "head" }, el("h2", {}, "Requests"), this.told),
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
    if (isOther) this.#turn();
    this.#draw();
  }

  hide() {
    this.#isShown = false;
  }

  // What is not among the newest is asked for once: it changes no more.
  async #turn() {
    const last = this.#last;
    this.#older = [];
    this.#isAwaited = this.#marked !== null;
    this.#isLoaded = false;
    this.body.scrollTop = 0;
    if (last === Infinity) return;
    const answer = await getRequests({ before: last + 1, limit: HELD }).catch(() => null);
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
    const meant = [...found.values()].filter((one) => one.id <= this.#last);
    return meant.sort((a, b) => b.id - a.id).slice(0, HELD);
  }

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    const requests = this.#rows();
    this.table.show(requests, this.#marked);
    this.table.element.hidden = requests.length === 0;
    const lacks = this.#marked && this.#isLoaded && !this.table.row(this.#marked);
    this.note.hidden = requests.length > 0 && !lacks;
    say(this.note, lacks ? `Request #${this.#marked} ${LEFT}` : "No request has arrived yet.");
    say(this.told, requests.length ? this.#sentence(requests) : "");
    this.#drawPages(requests);
    const row = this.#isAwaited && this.table.row(this.#marked);
    if (!row) return;
    this.#isAwaited = false;
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
    const facts = `${count(failed)} not answered 200, ${counted(retries, "retry", "retries")}`;
    return `${shown}, ${facts}${this.#isFiltered ? ". The filter is for events only" : ""}`;
  }

  #drawPages(requests) {
    const { oldest } = this.log;
    const newest = this.log.requests[0]?.id ?? 0;
    const [top, end] = [requests[0]?.id, requests[requests.length - 1]?.id];
    const links = [
      top < newest && ["Newest requests", ""],
      top < newest && [`Newer than #${top}`, `${top + HELD}-`],
      end > oldest && [`Older than #${end}`, `${end - 1}-`],
    ].filter(Boolean);
    const turned = JSON.stringify(links);
    if (turned === this.#turned) return;
    this.#turned = turned;
    const made = links.map(([text, id]) => el("a", leadingTo({ view: "requests", id }), text));
    keepingFocus(this.pages, () => replace(this.pages, made));
  }
}
