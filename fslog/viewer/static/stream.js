// What the server tells by itself, over one server-sent stream.
// Promises: connects again by itself, for ever, and says whether it is connected ("state"); a
// server of which nothing is heard for some seconds, not even that it lives, is lost too; tells
// when the server's memory starts anew ("anew": another run, so that ids begin again); a tab that
// is not seen gives its connection back, since a browser has only six for one host.

import { ApiError } from "./api.js";

const AGAIN_MS = 1000;
const HIDDEN_MS = 20_000;
// The server speaks every five seconds.
const SILENCE_MS = 15_000;
const TOLD = ["entries", "requests", "outcomes", "cleared"];

export class Stream extends EventTarget {
  #source = null;
  #run = null;
  #again = 0;
  #rest = 0;
  #silence = 0;
  connected = false;
  hello = null;

  /** Connect, and follow the page's being seen and not. */
  start() {
    document.addEventListener("visibilitychange", () => this.#seen());
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", (event) => event.persisted && this.#open());
    this.#open();
  }

  #open() {
    this.#close();
    const source = new EventSource("/api/stream?entries=0");
    this.#source = source;
    this.#heard();
    source.addEventListener("hello", (message) => this.#greet(JSON.parse(message.data)));
    for (const name of ["hello", "alive", ...TOLD]) {
      source.addEventListener(name, () => this.#heard());
    }
    for (const name of TOLD) {
      source.addEventListener(name, (message) => this.#tell(name, parsed(message.data)));
    }
    source.addEventListener("error", () => this.#lost());
  }

  #greet(hello) {
    const isAnew = this.#run !== null && this.#run !== hello.run;
    this.#run = hello.run;
    this.hello = hello;
    this.connected = true;
    if (isAnew) this.#tell("anew", hello);
    this.#tell("hello", hello);
    this.#tell("outcomes", hello.outcomes);
    this.#tell("state", { connected: true, anew: isAnew });
  }

  #heard() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lost(), SILENCE_MS);
  }

  // The browser's own reconnecting gives up for good on some failures, so it is not relied on.
  #lost() {
    this.#close();
    this.connected = false;
    this.#tell("state", { connected: false });
    this.#again = setTimeout(() => this.#open(), AGAIN_MS);
  }

  #close() {
    clearTimeout(this.#again);
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
  }

  #seen() {
    clearTimeout(this.#rest);
    if (document.hidden) this.#rest = setTimeout(() => this.#close(), HIDDEN_MS);
    else if (this.#source === null) this.#open();
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function parsed(data) {
  try {
    return data ? JSON.parse(data) : null;
  } catch {
    throw new ApiError(200, "The server sent what is no JSON.");
  }
}
