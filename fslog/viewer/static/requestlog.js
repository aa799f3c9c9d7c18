// The requests that arrived, as far as the page knows them: the newest some hundred.
// Promises: one list for every view that shows requests; `changed` is called after each change.

import { getRequests } from "./api.js";

const HELD = 500;
const STEP = 200;

export class RequestLog extends EventTarget {
  requests = [];
  total = 0;

  constructor(stream) {
    super();
    stream.addEventListener("hello", () => this.load());
    stream.addEventListener("requests", (event) => this.#add(event.detail.requests));
    for (const name of ["cleared", "anew"]) stream.addEventListener(name, () => this.#forget());
  }

  /** Load the newest. */
  async load() {
    const asked = this.requests[0]?.id ?? 0;
    const answer = await getRequests({ limit: STEP }).catch(() => null);
    if (!answer) return;
    // The server may have forgotten them while nothing was heard of it. Of what is held, only what
    // came after the answer is not in it.
    const newest = answer.requests[0]?.id ?? asked;
    this.requests = this.requests.filter((one) => one.id > newest);
    this.#add(answer.requests, answer.total + this.requests.length);
  }

  #add(requests, total) {
    const known = new Set(this.requests.map((request) => request.id));
    const fresh = requests.filter((request) => !known.has(request.id));
    this.total = total ?? this.total + fresh.length;
    this.requests = [...fresh, ...this.requests].sort((a, b) => b.id - a.id).slice(0, HELD);
    this.dispatchEvent(new Event("changed"));
  }

  #forget() {
    this.requests = [];
    this.total = 0;
    this.dispatchEvent(new Event("changed"));
  }
}
