// The state of one key, as a story.

import { $, el, failure } from "./dom.js";
import { get } from "./api.js";
import { clearAfterAsking } from "./clear.js";

let asked = 0;

async function show(key) {
  const number = ++asked;
  const place = $("key-answer");
  try {
    const answer = await get(`key?key=${encodeURIComponent(key)}`);
    if (number !== asked) return;
    const { explanation, story } = answer;
    const button = (label, body) => el("button", { type: "button", class: "danger", onclick: () => clearAfterAsking(body, place, () => show(key)) }, label);
    const buttons = document.body.dataset.mayChange === "yes"
      ? el("div", { class: "row" }, button("Clear this key", { key }), button("Clear its group", { group: explanation.group }))
      : null;
    place.replaceChildren(el("div", { class: explanation.found ? "answer good" : "answer warn" },
      el("p", {}, el("strong", { class: "key" }, explanation.key)),
      el("ul", { class: "story" }, story.map((sentence) => el("li", {}, sentence))),
      el("p", { class: "hint" }, "Its group: ", el("code", {}, explanation.group)),
      buttons));
  } catch (error) {
    if (number === asked) place.replaceChildren(failure(error));
  }
}

/** Explains a key that is named elsewhere on the page. */
export function explain(key) {
  $("key-input").value = key;
  $("key").scrollIntoView({ block: "start" });
  $("key-input").focus({ preventScroll: true });
  return show(key);
}

export function setUpKey() {
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    show($("key-input").value.trim());
  });
}
