// The user that requests are sent as: chosen in the page, and kept by the browser.

import { byId, openDialog } from "./dom.js";

const STORED = "viewer";

/** Returns the chosen user; empty for the one that the server takes the browser for. */
function viewer() {
  try {
    return localStorage.getItem(STORED) ?? "";
  } catch {
    return ""; // The browser keeps nothing for this page.
  }
}

/** Returns the headers that name the user. */
export function viewerHeaders() {
  const name = viewer();
  // A header of fetch takes a character for each byte, and the server reads the bytes as UTF-8.
  return name ? { "X-User": String.fromCharCode(...new TextEncoder().encode(name)) } : {};
}

/** Shows the user on its button, which opens the choice; `changed` is called after a new choice. */
export function startViewer(changed) {
  const dialog = byId("viewer-dialog");
  const form = dialog.querySelector("form");
  const show = () => {
    const name = document.createElement("bdi");
    name.textContent = viewer() || "default";
    byId("viewer").replaceChildren("Viewer: ", name);
  };
  byId("viewer").addEventListener("click", chooseViewer);
  form.addEventListener("submit", () => {
    localStorage.setItem(STORED, form.viewer.value.trim());
    show();
    changed();
  });
  show();
}

/** Opens the choice of a user. */
export function chooseViewer() {
  const dialog = byId("viewer-dialog");
  dialog.querySelector("form").viewer.value = viewer();
  openDialog(dialog);
}
