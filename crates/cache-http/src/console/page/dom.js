// Makes elements. Text becomes text nodes only, so that no key or name can become HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** Makes an HTML element with attributes, listeners (`onclick`) and children: elements or texts. */
export function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Makes an SVG element. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/**
 * Makes `place` hold `children`, and keeps the nodes that are there as far as they fit: a screen reader or a selection stays
 * where it is while figures change.
 */
export function update(place, ...children) {
  const wanted = children.flat(Infinity);
  while (place.childNodes.length > wanted.length) place.lastChild.remove();
  wanted.forEach((child, at) => {
    const old = place.childNodes[at];
    if (old) morph(old, child);
    else place.append(child);
  });
}

function morph(old, wanted) {
  if (old.nodeType !== wanted.nodeType || old.nodeName !== wanted.nodeName) {
    old.replaceWith(wanted);
    return;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== wanted.data) old.data = wanted.data;
    return;
  }
  for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  update(old, ...wanted.childNodes);
}

export const $ = (id) => document.getElementById(id);

/** Sets the text of an element where it has changed: a status that is set again would be read aloud again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows an error with what to do. */
export function failure(error) {
  return el("div", { class: "answer bad" },
    el("p", {}, el("strong", {}, "Not done: "), error.message),
    error.advice ? el("p", {}, "What to do: ", error.advice) : null);
}
