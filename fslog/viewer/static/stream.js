// The stream of server-sent events.
// Guarantees: reconnects until it succeeds, and reports changes of the connection ("state"); also
// treats a silent server as lost; reports a new run of the server, with new ids ("restarted");
// closes the connection of a hidden tab, since browsers allow six connections per host.

import { ApiError } from "./api.js";

const RECONNECT_MS = 1000;
const HIDDEN_MS = 20_000;
// The server sends a message at least every five seconds.
const SILENCE_MS = 15_000;
const KINDS = ["entries", "requests", "outcomes", "cleared"];

export class Stream extends EventTarget {
  #source = null;
  #run = null;
  #reconnectTimer = 0;
  #hiddenTimer = 0;
  #silenceTimer = 0;
  connected = false;
  hello = null;

  /** Connect, and disconnect while the page is hidden. */
  start() {
    document.addEventListener("visibilitychange", () => this.#visibilityChanged());
    window.addEventListener("pagehide", () => this.#close());
    window.addEventListener("pageshow", (event) => event.persisted && this.#open());
    this.#open();
  }

  #open() {
    this.#close();
    const source = new EventSource("/api/stream?entries=0");
    this.#source = source;
    this.#received();
    source.addEventListener("hello", (message) => this.#started(JSON.parse(message.data)));
    for (const name of ["hello", "alive", ...KINDS]) {
      source.addEventListener(name, () => this.#received());
    }
    for (const name of KINDS) {
      source.addEventListener(name, (message) => this.#dispatch(name, parsed(message.data)));
    }
    source.addEventListener("error", () => this.#lost());
  }

  #started(hello) {
    const isRestarted = this.#run !== null && this.#run !== hello.run;
    this.#run = hello.run;
    this.hello = hello;
    this.connected = true;
    if (isRestarted) this.#dispatch("restarted", hello);
    this.#dispatch("hello", hello);
    this.#dispatch("outcomes", hello.outcomes);
    this.#dispatch("state", { connected: true, restarted: isRestarted });
  }

  #received() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#lost(), SILENCE_MS);
  }

  // EventSource itself does not reconnect after some errors.
  #lost() {
    this.#close();
    this.connected = false;
    this.#dispatch("state", { connected: false });
    this.#reconnectTimer = setTimeout(() => this.#open(), RECONNECT_MS);
  }

  #close() {
    clearTimeout(this.#reconnectTimer);
    clearTimeout(this.#silenceTimer);
    this.#source?.close();
    this.#source = null;
  }

  #visibilityChanged() {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) this.#hiddenTimer = setTimeout(() => this.#close(), HIDDEN_MS);
    else if (this.#source === null) this.#open();
  }

  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function parsed(data) {
  try {
    return data ? JSON.parse(data) : null;
  } catch {
    throw new ApiError(200, "The viewer sent invalid JSON.");
  }
}
