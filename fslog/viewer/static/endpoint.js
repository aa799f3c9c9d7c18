// How the endpoint behaves now: as the real one, or as a bad server.
// Promises: the state is that of the server, also when another page or a script changed it.

import { endOutcomes, scriptOutcomes, setOutcome } from "./api.js";

export class Endpoint extends EventTarget {
  standing = null;
  script = [];

  constructor(stream) {
    super();
    stream.addEventListener("outcomes", (event) => this.#set(event.detail));
  }

  /** Return what the next request is answered, null for what the real endpoint does. */
  get next() {
    return this.script[0] || this.standing;
  }

  /** Behave so until told otherwise, or for the next few requests only. */
  async behave(outcome, times = 0) {
    if (times > 0) await scriptOutcomes(Array(times).fill(outcome));
    else await setOutcome(outcome);
  }

  /** Behave as the real endpoint does. */
  async beGood() {
    await endOutcomes();
  }

  #set(outcomes) {
    this.standing = outcomes?.standing ?? null;
    this.script = outcomes?.script ?? [];
    this.dispatchEvent(new Event("changed"));
  }
}
