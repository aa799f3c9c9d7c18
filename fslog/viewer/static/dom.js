// Elements out of plain values.
// Promises: a string is only ever text. Nothing here, or anywhere in the page, reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `on` holds listeners, true and false are attributes with and without. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an element of a drawing. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Give an element these children, and only these. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(9).filter(isThere));
  return element;
}

/** Draw anew what holds links, while the one that has the focus keeps it. */
export function keepingFocus(element, draw) {
  const focused = element.contains(document.activeElement)
    ? document.activeElement.getAttribute("href")
    : null;
  draw();
  if (focused === null) return;
  const again = [...element.querySelectorAll("a")].find(
    (link) => link.getAttribute("href") === focused,
  );
  again?.focus({ preventScroll: true });
}

/** Change a text only where it differs, so that nothing is drawn or read out again for nothing. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return a button that looks like what it is: `label` is its text or, with an icon, its name. */
export function button(label, click, attributes = {}, ...children) {
  const content = children.length ? children : [label];
  const name = children.length ? { "aria-label": label, title: label } : {};
  return el("button", { type: "button", on: { click }, ...name, ...attributes }, ...content);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(...children.flat(9).filter(isThere));
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name === "on") {
    for (const [event, listener] of Object.entries(value))
      element.addEventListener(event, listener);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

function isThere(child) {
  return child !== null && child !== undefined && child !== false;
}
