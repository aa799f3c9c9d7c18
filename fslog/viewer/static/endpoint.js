// The answers that the endpoint is configured to give.
// Guarantees: the state is the server's, also after a change by another page or a script.

import { restoreAnswers, scriptAnswers, putAnswer } from "./api.js";

export class Endpoint extends EventTarget {
  standing = null;
  script = [];

  constructor(stream) {
    super();
    stream.addEventListener("outcomes", (event) => this.#set(event.detail));
  }

  /** Return the answer to the next request, null for the real endpoint's own. */
  get next() {
    return this.script[0] || this.standing;
  }

  /** Set the answer to all requests, or to the next `times` requests. */
  async setAnswer(answer, times = 0) {
    if (times > 0) await scriptAnswers(Array(times).fill(answer));
    else await putAnswer(answer);
  }

  /** Restore the answers of the real endpoint. */
  async restore() {
    await restoreAnswers();
  }

  #set(answers) {
    this.standing = answers?.standing ?? null;
    this.script = answers?.script ?? [];
    this.dispatchEvent(new Event("changed"));
  }
}
