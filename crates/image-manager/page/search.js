// The form with the search and the filter of deleted images. It and the address say the same.

import { address, go } from "./address.js";
import { byId } from "./dom.js";

const FIELDS = ["filename", "content_type", "uploaded_by"];

/** Listens to the form. */
export function startSearch() {
  const form = byId("search");
  const { field, key, value, show } = form.elements;
  const search = () => {
    const wanted = field.value === "metadata" ? key.value : field.value;
    go({ field: value.value && wanted, value: value.value, show: show.value, page: undefined });
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  field.addEventListener("change", showKey);
  show.addEventListener("change", search);
  form.addEventListener("reset", () => go({ field: undefined, value: undefined, show: undefined, page: undefined }));
}

/** Fills the form from the address. */
export function showSearch() {
  const { field = "filename", value = "", show = "" } = address();
  const form = byId("search").elements;
  const isKey = !FIELDS.includes(field);
  form.field.value = isKey ? "metadata" : field;
  form.key.value = isKey ? field : "";
  form.value.value = value;
  form.show.value = show;
  showKey();
}

function showKey() {
  const form = byId("search").elements;
  const isKey = form.field.value === "metadata";
  byId("metadata-key").hidden = !isKey;
  form.key.required = isKey;
}
