// The editor of an image's metadata. Values stay texts of JSON: what is not edited is sent as it was received.

import { errorOf, send } from "./api.js";
import { button, byId, element } from "./dom.js";
import { members, object } from "./json_text.js";
import { complain } from "./notice.js";

/** The metadata as received, to be compared with the form. */
let received = "{}";

/** Shows the metadata of an image, whose answer is `text`; `saved` is called with the image once they are changed. */
export function showMetadata(image, text, saved) {
  received = new Map(members(text)).get("metadata") ?? "{}";
  const form = byId("metadata");
  const hadFocus = form.contains(document.activeElement);
  if (image.deleted_at) {
    form.replaceChildren(element("p", {}, "Restore the image to edit its metadata."), ...rows(true));
    return;
  }
  const lines = element("div", { class: "lines" }, ...rows(false));
  const add = button("Add a line", () => {
    const line = row("", '""', false);
    lines.append(line);
    line.querySelector("[name=name]").focus();
    update();
  });
  const save = element("button", { type: "submit", class: "primary" }, "Save");
  const discard = button("Discard", () => showMetadata(image, text, saved));
  const update = () => {
    save.disabled = discard.disabled = !isEdited();
  };
  form.replaceChildren(lines, element("div", { class: "actions" }, add, save, discard));
  form.oninput = () => {
    check(form);
    update();
  };
  form.onclick = update;
  form.onsubmit = (event) => {
    event.preventDefault();
    put(image, saved);
  };
  update();
  if (hadFocus) {
    add.focus();
  }
}

/** Returns whether the form differs from what was received. */
export function isEdited() {
  const form = byId("metadata");
  return form.querySelector("[type=submit]") !== null && text(form) !== object(members(received));
}

function rows(isReadOnly) {
  return members(received).map(([name, value]) => row(name, value, isReadOnly));
}

function row(name, value, isReadOnly) {
  const isText = value.startsWith('"');
  const shown = isText ? JSON.parse(value) : value;
  const lines = Math.min(6, Math.max(shown.split("\n").length, Math.ceil(shown.length / 40)));
  const label = { autocomplete: "off", spellcheck: "false", dir: "auto", readonly: isReadOnly };
  const nameField = element("input", { name: "name", "aria-label": "Name", placeholder: "name", ...label });
  const valueField = element("textarea", { name: "value", "aria-label": "Value", rows: lines || 1, ...label });
  nameField.value = name;
  valueField.value = shown;
  valueField.dir = isText ? "auto" : "ltr";
  const kind = element(
    "select",
    { name: "kind", "aria-label": "Kind of value", disabled: isReadOnly },
    element("option", { value: "text" }, "text"),
    element("option", { value: "json" }, "JSON"),
  );
  kind.value = isText ? "text" : "json";
  const line = element("div", { class: "line" }, nameField, valueField, kind);
  line.append(
    button("×", () => line.remove(), { "aria-label": "Remove the line", class: "plain", disabled: isReadOnly }),
  );
  // Fields of a browser normalise line ends; a value that is not edited must not be.
  line.original = { shown: valueField.value, kind: kind.value, value };
  return line;
}

function entries(form) {
  return [...form.querySelectorAll(".line")].map((line) => {
    const [name, value, kind] = ["name", "value", "kind"].map((field) => line.querySelector(`[name=${field}]`));
    const { original } = line;
    const isKept = value.value === original.shown && kind.value === original.kind;
    const json = kind.value === "text" ? JSON.stringify(value.value) : value.value.trim();
    return { name, value, kind, json: isKept ? original.value : json };
  });
}

function text(form) {
  return object(entries(form).map(({ name, json }) => [name.value, json]));
}

/** Marks names that are there twice, and values that are no JSON. */
function check(form) {
  const names = new Set();
  for (const { name, value, json } of entries(form)) {
    name.setCustomValidity(names.has(name.value) ? "Another line has this name." : "");
    names.add(name.value);
    let wrong = "";
    try {
      JSON.parse(json);
    } catch {
      wrong = "This is no JSON, such as 400, true, [1, 2] or null. Choose “text” if it is one.";
    }
    value.setCustomValidity(wrong);
  }
}

async function put(image, saved) {
  const form = byId("metadata");
  check(form);
  if (!form.reportValidity()) {
    return;
  }
  try {
    const answer = await send("PUT", `/api/images/${image.id}/metadata`, { body: text(form) });
    received = object(members(text(form)));
    saved(await answer.json());
  } catch (error) {
    complain("The metadata cannot be saved", error);
  }
}
