// The page's address: `/?FILTER#VIEW/ID`.
// Promises: what is seen stands in the address, so that it can be shared, survives a reload, and
// the back button goes where one came from.

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
export const VIEWS = ["live", "overview", "sessions", "requests", "server"];

const changes = new EventTarget();

/** Return `{view, id, filter}` of an address; the page's own by default. */
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

/** Write an address for a place; what is left out is as it is now. */
export function write(place) {
  const { view, id, filter } = { ...read(), id: "", ...place };
  const query = new URLSearchParams(
    FILTERS.filter((key) => filter[key]).map((key) => [key, filter[key]]),
  );
  const search = query.toString();
  return `/${search ? `?${search}` : ""}#${view}${id ? `/${encodeURIComponent(id)}` : ""}`;
}

/** Go to a place; `isStep` false replaces the present one, so that Back leaves it out. */
export function go(place, isStep = true) {
  const target = write(place);
  if (target === `${location.pathname}${location.search}${location.hash}`) return;
  history[isStep ? "pushState" : "replaceState"](null, "", target);
  changes.dispatchEvent(new Event("change"));
}

/** Call a listener whenever the place has changed, however it did. */
export function onChange(listener) {
  changes.addEventListener("change", () => listener(read()));
  window.addEventListener("popstate", () => listener(read()));
}

/** Return the listeners and the address that make a link lead to a place without a new page. */
export function leadingTo(place) {
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
