// The page's address: `/?FILTER#VIEW/ID`.
// Guarantees: the address determines what is shown, so that links and reloads show the same, and
// the back button returns to the previous place.

export const FILTERS = [
  "action",
  "account",
  "user",
  "session",
  "module",
  "feature",
  "problem",
  "request",
  "state",
  "q",
];
export const VIEWS = ["live", "overview", "sessions", "requests", "server", "plan"];

/** Return whether the viewer has a plan, and so the view of it. */
export const hasPlan = (hello) => typeof hello?.plan === "string";

const changes = new EventTarget();

/** Return `{view, id, filter}` of an address; of the page's own by default. */
export function read(location = window.location) {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const given = new URLSearchParams(location.search);
  const filter = {};
  for (const key of FILTERS) {
    const value = given.get(key);
    if (value) filter[key] = value;
  }
  return { view: VIEWS.includes(name) ? name : "live", id: decoded(rest.join("/")), filter };
}

/** Return the address of a place; omitted parts are those of the current one. */
export function write(place) {
  const { view, id, filter } = { ...read(), id: "", ...place };
  const query = new URLSearchParams(
    FILTERS.filter((key) => filter[key]).map((key) => [key, filter[key]]),
  );
  const search = query.toString();
  return `/${search ? `?${search}` : ""}#${view}${id ? `/${encodeURIComponent(id)}` : ""}`;
}

/** Go to a place; with `isStep` false it replaces the current one in the history. */
export function go(place, isStep = true) {
  const target = write(place);
  if (target === `${location.pathname}${location.search}${location.hash}`) return;
  history[isStep ? "pushState" : "replaceState"](null, "", target);
  changes.dispatchEvent(new Event("change"));
}

/** Call a listener after every change of the place. */
export function onChange(listener) {
  changes.addEventListener("change", () => listener(read()));
  window.addEventListener("popstate", () => listener(read()));
}

/** Return the attributes of a link that goes to a place without loading the page. */
export function linkTo(place) {
  const click = (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(place);
  };
  return { href: write(place), on: { click } };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
