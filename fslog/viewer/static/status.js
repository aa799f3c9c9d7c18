// What is always seen: whether the page is connected, and how the endpoint behaves.
// Promises: a lost connection and a bad server are told on every view, each with what to do, and
// each change is read out once.

import { leadingTo } from "./address.js";
import { announce } from "./announce.js";
import { button, el, replace } from "./dom.js";
import { showHelp } from "./help.js";
import { icon } from "./icons.js";
import { describe, isGood, short } from "./outcomes.js";

const TOLD_MS = 8000;
const LOST =
  "The viewer's server does not answer. It is tried again every second; what is seen may be old.";
const ANEW = "The server was restarted: its memory starts anew.";

export class Status {
  #isLost = false;
  #isAnew = false;
  #timer = 0;
  #said = describe(null);

  /** Fill the header's states and the banner, and keep them right. */
  constructor(stream, endpoint) {
    this.stream = stream;
    this.endpoint = endpoint;
    this.banner = document.getElementById("banner");
    this.connection = el("span", { class: "connection", id: "connection" });
    const place = leadingTo({ view: "server" });
    this.behaviour = el("a", { class: "outcome", id: "outcome", ...place });
    const help = { class: "quiet help" };
    replace(
      document.getElementById("states"),
      this.behaviour,
      this.connection,
      button("Help", () => showHelp(stream.hello), help, icon("help")),
    );
    stream.addEventListener("state", (event) => this.#connected(event.detail));
    endpoint.addEventListener("changed", () => this.#changed());
    this.#draw();
  }

  #connected({ connected, anew }) {
    clearTimeout(this.#timer);
    if (connected && this.#isLost) {
      this.#isAnew = anew;
      announce(`Connected again. ${anew ? ANEW : ""}`);
      this.#timer = setTimeout(() => this.#settle(), TOLD_MS);
    } else if (!connected && !this.#isLost) {
      announce("The viewer's server does not answer.");
    }
    this.#isLost = !connected;
    this.#draw();
  }

  #settle() {
    this.#isAnew = false;
    this.#draw();
  }

  #changed() {
    const words = describe(this.endpoint.next);
    if (words !== this.#said) announce(`The endpoint ${words}`);
    this.#said = words;
    this.#draw();
  }

  #draw() {
    const isUp = this.stream.connected;
    const word = this.#isLost ? "reconnecting" : isUp ? "connected" : "connecting";
    this.connection.className = `connection ${this.#isLost ? "is-lost" : isUp ? "is-on" : ""}`;
    replace(this.connection, el("i", { "aria-hidden": "true" }), el("span", {}, word));
    const { next, standing } = this.endpoint;
    const isAllGood = isGood(next) && isGood(standing);
    this.behaviour.className = `outcome ${isAllGood ? "is-valid" : "is-warning"}`;
    this.behaviour.title = `The endpoint ${describe(next)}`;
    replace(this.behaviour, icon(isAllGood ? "valid" : "warning"), `endpoint ${short(next)}`);
    this.#drawBanner(isAllGood);
  }

  #drawBanner(isAllGood) {
    const told = [];
    if (this.#isLost) told.push(el("p", { class: "is-lost" }, LOST));
    if (this.#isAnew) told.push(el("p", { class: "is-anew" }, ANEW));
    if (!isAllGood) told.push(this.#bad());
    this.banner.hidden = told.length === 0;
    const hadFocus = this.banner.contains(document.activeElement);
    replace(this.banner, told);
    if (hadFocus) (this.banner.querySelector("button") ?? this.behaviour).focus();
  }

  #bad() {
    const { next, script } = this.endpoint;
    const until = script.length ? " for now" : "";
    const words = `The endpoint plays the bad server: it ${describe(next)}${until}.`;
    const press = () => this.endpoint.beGood().catch((error) => announce(error.message));
    const good = button("Be good again", press, { class: "small" });
    return el("p", { class: "is-bad" }, icon("warning"), el("span", {}, words), good);
  }
}
