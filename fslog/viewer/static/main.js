// Entry point: creates the views and shows the one that the address names.

import { VIEWS, go, hasPlan, linkTo, onChange, read, write } from "./address.js";
import { Failures } from "./failures.js";
import { el, replace } from "./dom.js";
import { Endpoint } from "./endpoint.js";
import { icon } from "./icons.js";
import { listen } from "./keys.js";
import { Live } from "./live.js";
import { Overview } from "./overview.js";
import { PlanView } from "./plan.js";
import { RequestLog } from "./requestlog.js";
import { Requests } from "./requests.js";
import { Sessions } from "./sessions.js";
import { Status } from "./status.js";
import { Stream } from "./stream.js";

const NAMES = {
  live: "Live",
  overview: "Overview",
  sessions: "Sessions",
  requests: "Requests",
  server: "Failures",
  plan: "Plan",
};

function start() {
  const stream = new Stream();
  const endpoint = new Endpoint(stream);
  const log = new RequestLog(stream);
  const live = new Live(stream);
  const views = {
    live,
    overview: new Overview(),
    sessions: new Sessions(stream),
    requests: new Requests(log),
    server: new Failures(endpoint, log),
    plan: new PlanView(stream),
  };
  makeLinks();
  stream.addEventListener("hello", ({ detail }) => offerPlan(hasPlan(detail)));
  new Status(stream, endpoint);
  listen(live, stream);
  const shown = { view: null };
  const show = (place) => display(views, place, shown);
  onChange(show);
  show(read());
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("main").focus();
  });
  stream.start();
}

// Without a plan the viewer has no such view.
function offerPlan(isThere) {
  document.getElementById("views").children[VIEWS.indexOf("plan")].hidden = !isThere;
  if (!isThere && read().view === "plan") go({ view: "live", id: "" }, false);
}

function display(views, place, shown) {
  const main = document.getElementById("main");
  const view = views[place.view];
  if (shown.view !== view) {
    shown.view?.hide?.();
    replace(main, view.element);
    document.title = `${NAMES[place.view]} · Instrumentation Viewer`;
    shown.view = view;
  }
  drawLinks(place);
  view.show(place);
}

function makeLinks() {
  const link = (view) => el("a", { hidden: view === "plan", ...linkTo({ view }) }, icon(view), el("span", {}, NAMES[view]));
  replace(document.getElementById("views"), VIEWS.map(link));
}

// Each link keeps the filter.
function drawLinks(place) {
  VIEWS.forEach((view, index) => {
    const link = document.getElementById("views").children[index];
    link.setAttribute("href", write({ view }));
    if (view === place.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
}

start();
