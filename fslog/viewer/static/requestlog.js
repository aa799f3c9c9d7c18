// The requests that arrived, as far as the page follows them: the newest.
// Promises: one list for every view that shows requests, without gaps; `changed` is called after
// each change. Older ones are for those who ask the server.

import { getRequests } from "./api.js";

/** How many are held. */
export const HELD = 200;

export class RequestLog extends EventTarget {
  requests = [];
  total = 0;

  constructor(stream) {
    super();
    stream.addEventListener("hello", () => this.load());
    stream.addEventListener("requests", (event) => this.#hear(event.detail));
    for (const name of ["cleared", "anew"]) stream.addEventListener(name, () => this.#forget());
  }

  /** Return the id of the oldest request that the server keeps: ids have no gaps. */
  get oldest() {
    return this.requests.length ? this.requests[0].id - this.total + 1 : 0;
  }

  /** Load the newest. */
  async load() {
    const asked = this.requests[0]?.id ?? 0;
    const answer = await getRequests({ limit: HELD }).catch(() => null);
    if (!answer) return;
    // The server may have forgotten them while nothing was heard of it. Of what is held, only what
    // came after the answer is not in it.
    const newest = answer.requests[0]?.id ?? asked;
    this.requests = this.requests.filter((one) => one.id > newest);
    this.#add(answer.requests, answer.total + this.requests.length);
  }

  // A flood is told in part only: what was left out is to be asked for.
  #hear({ requests, total }) {
    const newest = this.requests[0]?.id ?? 0;
    const isGap = newest > 0 && requests[requests.length - 1].id > newest + 1;
    if (isGap) this.requests = [];
    this.#add(requests, total);
    if (isGap) this.load();
  }

  #add(requests, total) {
    const known = new Set(this.requests.map((request) => request.id));
    const fresh = requests.filter((request) => !known.has(request.id));
    this.total = total;
    this.requests = [...fresh, ...this.requests].sort((a, b) => b.id - a.id).slice(0, HELD);
    this.dispatchEvent(new Event("changed"));
  }

  #forget() {
    this.requests = [];
    this.total = 0;
    this.dispatchEvent(new Event("changed"));
  }
}
