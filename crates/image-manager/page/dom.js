// Building and finding elements.

/** Returns the element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Creates an element. `on…` properties become listeners, all others attributes; false and null leave one out.
 *
 * Children that are no elements become text nodes: nothing that a user wrote is ever read as markup.
 */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) {
      created.addEventListener(name.slice(2), value);
    } else if (value !== false && value != null) {
      created.setAttribute(name, value === true ? "" : value);
    }
  }
  created.append(...children.filter((child) => child != null));
  return created;
}

/** Creates a button that calls `act`. */
export function button(label, act, properties = {}) {
  return element("button", { type: "button", onclick: act, ...properties }, label);
}

/** Creates a text that a user wrote, set apart from the direction of the text around it. */
export function written(text) {
  return element("bdi", {}, text);
}

/** Opens a dialog; its elements with `data-close` close it. */
export function openDialog(dialog) {
  for (const closer of dialog.querySelectorAll("[data-close]")) {
    closer.onclick = () => requestClose(dialog);
  }
  if (!dialog.open) {
    dialog.querySelector(".notice").replaceChildren();
    dialog.showModal();
  }
}

/** Closes a dialog as the key Escape does: its listener of `cancel` may prevent that. */
function requestClose(dialog) {
  if (dialog.dispatchEvent(new Event("cancel", { cancelable: true }))) {
    dialog.close();
  }
}
