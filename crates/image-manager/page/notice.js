// Messages to the user: what was done, and what went wrong with what to do about it.

import { byId, button, element } from "./dom.js";
import { chooseViewer } from "./viewer.js";

const ADVICE = {
  0: "Is it running? Try again once the message above is gone.",
  401: "Choose a viewer, or sign in at the proxy in front of the server.",
  403: "Choose another viewer, or ask a member of the project to add you.",
  404: "It may have been deleted meanwhile: load the page again.",
  408: "The connection was too slow: try again, or send a smaller picture.",
  409: "Load the page again to see the present state.",
  410: "Send the file again with “Replace picture”, or delete the image.",
  412: "Load the page again to see the present state.",
  413: "Send something smaller, or raise the limit on the server.",
  415: "Send a whole JPEG, PNG, GIF or WebP.",
  421: "Open the page by http://localhost, or add this name to ALLOWED_HOSTS on the server.",
  500: "The server's log has the cause.",
  503: "Try again in a moment.",
  507: "Free some space on the disk of DATA_DIR, then try again.",
};

/** Says what was done; `action` is a button that follows from it. */
export function say(text, action) {
  show(element("p", {}, text), action);
}

/** Says what went wrong while `doing` something, and what to do. An aborted request says nothing. */
export function complain(doing, error) {
  if (error.name === "AbortError") {
    return;
  }
  if (error.status === undefined) {
    console.error(error);
  }
  const action = [401, 403].includes(error.status) ? button("Choose a viewer", chooseViewer) : null;
  show(element("p", { role: "alert" }, `${doing}: ${explained(error)}`), action);
}

/** Returns an error as sentences: the server's message, and what to do. */
export function explained(error) {
  const advice = ADVICE[error.status] ?? "";
  const message = error.message.replace(/[.\s]*$/, ".");
  return `${message} ${advice}`.trim();
}

/** Removes the message. */
export function clearNotice() {
  region().replaceChildren();
}

/** The region in the open dialog, as everything behind it is inert. */
function region() {
  const dialogs = document.querySelectorAll("dialog[open]");
  return dialogs.length ? dialogs[dialogs.length - 1].querySelector(".notice") : byId("notice");
}

function show(message, action) {
  const target = region();
  const clear = () => target.replaceChildren();
  action?.addEventListener("click", clear);
  const close = button("×", clear, { "aria-label": "Close the message", class: "plain" });
  target.replaceChildren(message, ...(action ? [action] : []), close);
}
