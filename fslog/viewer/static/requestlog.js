// The newest requests, shared by the views that show requests.
// Guarantees: the list has no gaps; a "changed" event follows each change.

import { getRequests } from "./api.js";

/** Number of requests in the list, and on a page of the requests view. */
export const PAGE = 200;

export class RequestLog extends EventTarget {
  requests = [];
  total = 0;

  constructor(stream) {
    super();
    stream.addEventListener("hello", () => this.load());
    stream.addEventListener("requests", (event) => this.#append(event.detail));
    for (const name of ["cleared", "restarted"]) stream.addEventListener(name, () => this.#clear());
  }

  /** Return the id of the oldest request that the server keeps, given that ids have no gaps. */
  get oldest() {
    return this.requests.length ? this.requests[0].id - this.total + 1 : 0;
  }

  /** Load the newest requests. */
  async load() {
    const asked = this.requests[0]?.id ?? 0;
    const answer = await getRequests({ limit: PAGE }).catch(() => null);
    if (!answer) return;
    // The server may have evicted requests meanwhile: keep only those newer than the response.
    const newest = answer.requests[0]?.id ?? asked;
    this.requests = this.requests.filter((one) => one.id > newest);
    this.#add(answer.requests, answer.total + this.requests.length);
  }

  // The stream omits requests if many arrive: reload to close the gap.
  #append({ requests, total }) {
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
    this.requests = [...fresh, ...this.requests].sort((a, b) => b.id - a.id).slice(0, PAGE);
    this.dispatchEvent(new Event("changed"));
  }

  #clear() {
    this.requests = [];
    this.total = 0;
    this.dispatchEvent(new Event("changed"));
  }
}
