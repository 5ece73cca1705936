// Invalidations and refused fills as they happen.

import { $, el, say } from "./dom.js";
import { count, entries, time } from "./format.js";
import { explain } from "./key.js";

const MOST = 200;

let isPaused = false;
let waiting = [];
let missed = 0;

const keyButton = (key) => el("button", { type: "button", class: "inline key", title: "Explain this key", onclick: () => explain(key) }, key);

function invalidation(event) {
  const failed = event.reach === "failed";
  const more = event.count - event.what.length;
  const what = event.what.map((name) => (name.startsWith("key ") ? [" key ", keyButton(name.slice(4))] : [" ", el("code", {}, name)]));
  const outcome = failed
    ? `failed: ${event.error}; old values may be served`
    : `${entries(event.removed)} removed${event.reach === "journaled" ? ", to be sent to the shared store later" : ""}`;
  return el("li", {},
    el("time", { datetime: new Date(event.at_ms).toISOString() }, time(event.at_ms)),
    el("span", { class: failed ? "kind bad-text" : "kind" }, failed ? "Failed" : "Invalidated"),
    el("span", { class: "what" }, what, more > 0 ? ` and ${count(more)} more` : "",
      el("span", { class: "hint" }, ` ${outcome}, ${event.origin}`)));
}

function refused(event) {
  return el("li", {},
    el("time", { datetime: new Date(event.at_ms).toISOString() }, time(event.at_ms)),
    el("span", { class: "kind warn-text" }, "Fill refused"),
    el("span", { class: "what" }, keyButton(event.key),
      el("span", { class: "hint" }, " the loaded value may be older than an invalidation")));
}

function add(item) {
  const list = $("events");
  list.prepend(item);
  while (list.children.length > MOST) list.lastElementChild.remove();
  $("events-empty")?.remove();
}

function show(item) {
  if (!isPaused) {
    add(item);
    return;
  }
  waiting.push(item);
  if (waiting.length > MOST) waiting.shift();
  say($("pause"), `Go on (${count(waiting.length)} new)`);
}

export function beginLive({ recent }) {
  waiting = [];
  $("events").replaceChildren(...recent.map(invalidation));
  if (recent.length === 0) $("events").before(el("p", { id: "events-empty", class: "hint" }, "Nothing happened yet."));
}

export const addInvalidation = (event) => show(invalidation(event));
export const addRefused = (event) => show(refused(event));

export function addMissed({ events }) {
  missed += events;
  const text = $("missed");
  text.hidden = false;
  say(text, `${count(missed)} events are left out: more happened than this page can show. The figures above count them all.`);
}

export function setUpLive() {
  $("pause").addEventListener("click", () => {
    isPaused = !isPaused;
    $("pause").setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) {
      waiting.forEach(add);
      waiting = [];
    }
    say($("pause"), isPaused ? "Go on" : "Pause");
  });
}
