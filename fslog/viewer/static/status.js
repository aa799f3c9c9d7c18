// The status of the connection and of the endpoint, visible on every view.
// Guarantees: a banner reports a lost connection and simulated failures, with what to do; each
// change is announced once.

import { linkTo } from "./address.js";
import { announce } from "./announce.js";
import { button, el, replace } from "./dom.js";
import { showHelp } from "./help.js";
import { icon } from "./icons.js";
import { describe, isNormal, short } from "./answers.js";

const NOTICE_MS = 8000;
const LOST =
  "The viewer does not respond. Reconnecting every second; the page may be out of date.";
const RESTARTED = "The viewer was restarted: earlier events are gone.";

export class Status {
  #isLost = false;
  #isRestarted = false;
  #timer = 0;
  #announced = describe(null);

  /** Fill the header and the banner, and keep them up to date. */
  constructor(stream, endpoint) {
    this.stream = stream;
    this.endpoint = endpoint;
    this.banner = document.getElementById("banner");
    this.connection = el("span", { class: "connection", id: "connection" });
    const place = linkTo({ view: "server" });
    this.answer = el("a", { class: "endpoint-state", id: "endpoint-state", ...place });
    const help = { class: "quiet help" };
    replace(
      document.getElementById("states"),
      this.answer,
      this.connection,
      button("Help", () => showHelp(stream.hello), help, icon("help")),
    );
    stream.addEventListener("state", (event) => this.#connected(event.detail));
    endpoint.addEventListener("changed", () => this.#changed());
    this.#draw();
  }

  #connected({ connected, restarted }) {
    clearTimeout(this.#timer);
    if (connected && this.#isLost) {
      this.#isRestarted = restarted;
      announce(`Reconnected. ${restarted ? RESTARTED : ""}`);
      this.#timer = setTimeout(() => this.#hideNotice(), NOTICE_MS);
    } else if (!connected && !this.#isLost) {
      announce("The viewer does not respond.");
    }
    this.#isLost = !connected;
    this.#draw();
  }

  #hideNotice() {
    this.#isRestarted = false;
    this.#draw();
  }

  #changed() {
    const text = describe(this.endpoint.next);
    if (text !== this.#announced) announce(`The endpoint ${text}`);
    this.#announced = text;
    this.#draw();
  }

  #draw() {
    const isUp = this.stream.connected;
    const word = this.#isLost ? "reconnecting" : isUp ? "connected" : "connecting";
    this.connection.className = `connection ${this.#isLost ? "is-lost" : isUp ? "is-on" : ""}`;
    replace(this.connection, el("i", { "aria-hidden": "true" }), el("span", {}, word));
    const { next, standing } = this.endpoint;
    const isAllNormal = isNormal(next) && isNormal(standing);
    this.answer.className = `endpoint-state ${isAllNormal ? "is-valid" : "is-warning"}`;
    this.answer.title = `The endpoint ${describe(next)}`;
    replace(this.answer, icon(isAllNormal ? "valid" : "warning"), `endpoint ${short(next)}`);
    this.#drawBanner(isAllNormal);
  }

  #drawBanner(isAllNormal) {
    const notices = [];
    if (this.#isLost) notices.push(el("p", { class: "is-lost" }, LOST));
    if (this.#isRestarted) notices.push(el("p", { class: "is-restarted" }, RESTARTED));
    if (!isAllNormal) notices.push(this.#failureNotice());
    this.banner.hidden = notices.length === 0;
    const hadFocus = this.banner.contains(document.activeElement);
    replace(this.banner, notices);
    if (hadFocus) (this.banner.querySelector("button") ?? this.answer).focus();
  }

  #failureNotice() {
    const { next, script } = this.endpoint;
    const until = script.length ? " for now" : "";
    const text = `The endpoint simulates failures: it ${describe(next)}${until}.`;
    const press = () => this.endpoint.restore().catch((error) => announce(error.message));
    const restore = button("Restore normal answers", press, { class: "small" });
    return el("p", { class: "is-bad" }, icon("warning"), el("span", {}, text), restore);
  }
}
