// Clears keys, groups and patterns, after a count and a question.

import { $, el, failure } from "./dom.js";
import { post } from "./api.js";
import { entries } from "./format.js";

const HINTS = {
  key: ["user:7:profile", "One entry, by its whole key."],
  group: ["user:7", "Every key that begins with these two parts."],
  pattern: ["user:*:photo", "A family (user), or a text with * for any characters and ? for one. Never * alone."],
};

/** Asks whether to go on; resolves to the answer. Escape says no. */
function ask(title, text) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  return new Promise((resolve) => {
    const end = (answer) => () => {
      dialog.close();
      resolve(answer);
    };
    $("confirm-yes").onclick = end(true);
    $("confirm-no").onclick = end(false);
    dialog.oncancel = end(false);
    dialog.showModal();
    $("confirm-no").focus();
  });
}

function found({ entries: count, approximate }) {
  if (count == null) return "an unknown number of entries";
  return `${approximate ? "about " : ""}${entries(count)}`;
}

/** Counts what `body` names, asks, clears it, and shows the outcome in `place`. */
export async function clearAfterAsking(body, place, done = null) {
  try {
    const dry = await post("clear/dry-run", body);
    if (dry.entries === 0) {
      const nothing = el("p", {}, el("code", {}, dry.what), " matches no entry. A load that runs now could still store one: clearing it keeps that out.");
      const anyway = el("button", { type: "button", class: "quiet", onclick: () => clear(body, place, done) }, "Clear it all the same");
      place.replaceChildren(el("div", { class: "answer warn" }, nothing, anyway));
      return;
    }
    const text = `The ${dry.what} matches ${found(dry)}. What is removed is loaded again when it is next read.`;
    if (await ask(`Clear ${found(dry)}?`, text)) {
      await clear(body, place, done);
    } else {
      place.replaceChildren(el("div", { class: "answer" }, el("p", {}, `Nothing was cleared; it would have been ${found(dry)}.`)));
    }
  } catch (error) {
    place.replaceChildren(failure(error));
  }
}

async function clear(body, place, done) {
  try {
    const { what, removed, reach } = await post("clear", body);
    await done?.();
    const later = reach === "journaled" ? " The shared store is away: it gets this when it is back." : "";
    place.prepend(el("div", { class: "answer good" }, el("p", {}, `${entries(removed)} removed: `, el("code", {}, what), `.${later}`)));
    if (!done) while (place.children.length > 1) place.lastElementChild.remove();
  } catch (error) {
    place.replaceChildren(failure(error));
  }
}

/** Shows the part where the viewer may clear entries. */
export function allowChanges(isAllowed) {
  document.body.dataset.mayChange = isAllowed ? "yes" : "no";
  $("clear").hidden = !isAllowed;
  $("clear-link").hidden = !isAllowed;
}

export function setUpClear() {
  const form = $("clear-form");
  const hint = () => {
    const [example, text] = HINTS[form.elements.kind.value];
    $("clear-input").placeholder = example;
    $("clear-hint").textContent = text;
  };
  form.addEventListener("change", hint);
  hint();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    await clearAfterAsking({ [form.elements.kind.value]: $("clear-input").value.trim() }, $("clear-answer"));
    button.disabled = false;
  });
}
