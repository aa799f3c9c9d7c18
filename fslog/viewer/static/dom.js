// Creation of elements.
// Guarantees: strings become text, never markup; no code of the page parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return a new element; `on` holds listeners, true and false set and omit an attribute. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Return a new SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Replace the children of an element. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(9).filter(isThere));
  return element;
}

/** Redraw an element with links; the link that has the focus keeps it. */
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

/** Set a text only if it differs, so that an unchanged text is not announced again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return a button; `label` is its text or, if it has children, its accessible name. */
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
