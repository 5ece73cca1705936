// One page of a project's images.

import { address, addressWith, go, goInstead } from "./address.js";
import { change, get } from "./api.js";
import { badge } from "./badge.js";
import { button, byId, element, written } from "./dom.js";
import { complain, say } from "./notice.js";
import { lazyThumbnail } from "./thumbnails.js";

const PAGE_SIZE = 100;

/** The images that are shown, and their tiles by the version of the image: a tile that is still right is kept. */
let images = [];
let tiles = new Map();
let loading = new AbortController();
let focusResults = false;

/** Loads and shows the page that the address names. */
export async function showGallery() {
  loading.abort();
  const { signal } = loading = new AbortController();
  const { project, page = "1" } = address();
  const number = Math.max(1, Math.trunc(Number(page)) || 1);
  byId("gallery").setAttribute("aria-busy", "true");
  try {
    const path = `/api/projects/${encodeURIComponent(project)}/images?${query((number - 1) * PAGE_SIZE)}`;
    const { data, cache } = await get(path, { signal });
    const last = Math.max(1, Math.ceil(data.total / PAGE_SIZE));
    if (number > last) {
      goInstead({ page: String(last) });
      return;
    }
    show(data, number, last);
    byId("listing-badge").replaceChildren(badge(cache) ?? "");
  } catch (error) {
    complain("The pictures cannot be listed", error);
  } finally {
    if (!signal.aborted) {
      byId("gallery").removeAttribute("aria-busy");
    }
  }
}

/** Shows no project's images. */
export function clearGallery() {
  loading.abort();
  byId("gallery").removeAttribute("aria-busy");
  for (const id of ["gallery", "pages", "count", "listing-badge", "empty"]) {
    byId(id).replaceChildren();
  }
}

/** Returns the ids of the images before and after one on this page. */
export function neighbours(id) {
  const place = images.findIndex((image) => image.id === id);
  return place < 0 ? [] : [images[place - 1]?.id, images[place + 1]?.id];
}

/** Restores a deleted image. */
export async function restore(id, filename) {
  try {
    await change("POST", `/api/images/${id}/restore`);
    say(`Restored ${filename}`);
  } catch (error) {
    complain(`${filename} cannot be restored`, error);
  }
  await showGallery();
}

/** Returns the query of the listing, from `skip` on. */
function query(skip) {
  const { field, value, show } = address();
  const parameters = new URLSearchParams({ skip, limit: PAGE_SIZE });
  if (field && value) {
    parameters.set("search_field", field);
    parameters.set("search_value", value);
  }
  if (show === "all") {
    parameters.set("include_deleted", "true");
  } else if (show === "deleted") {
    parameters.set("deleted_only", "true");
  }
  return parameters;
}

function show({ items, total }, page, last) {
  images = items;
  const shown = new Map(items.map((image) => {
    const version = `${image.id} ${image.updated_at} ${image.deleted_at}`;
    const kept = tiles.get(version) ?? tile(image);
    kept.querySelector("a").href = addressWith({ image: image.id });
    return [version, kept];
  }));
  tiles = shown;
  byId("gallery").replaceChildren(...shown.values());
  byId("count").textContent = count(items.length, total, (page - 1) * PAGE_SIZE);
  byId("empty").replaceChildren(...(total === 0 ? nothing() : []));
  byId("pages").replaceChildren(...(last > 1 ? pages(page, last) : []));
  if (focusResults) {
    focusResults = false;
    byId("results").focus();
    byId("results").scrollIntoView();
  }
}

function count(length, total, skipped) {
  const number = (value) => value.toLocaleString("en");
  if (length < total) {
    return `${number(skipped + 1)} to ${number(skipped + length)} of ${number(total)}`;
  }
  return total === 0 ? "none" : number(total);
}

function tile(image) {
  const format = image.content_type.replace("image/", "").toUpperCase();
  const size = `${image.width} × ${image.height} · ${format}`;
  const picture = image.deleted_at
    ? element("span", { class: "thumbnail" }, element("span", { class: "trouble" }, "deleted"))
    : lazyThumbnail(image);
  const name = element("span", { class: "name", dir: "auto", title: image.filename }, image.filename);
  const link = element("a", {}, picture, name, element("small", {}, size));
  const again = image.deleted_at
    ? button("Restore", () => restore(image.id, image.filename), { "aria-label": `Restore ${image.filename}` })
    : null;
  return element("li", { class: image.deleted_at ? "deleted" : false }, link, again);
}

function nothing() {
  const { value, show } = address();
  if (value) {
    const all = button("Show all pictures", () => go({ value: undefined, page: undefined }));
    return [element("p", {}, "No picture has ", written(value), " there."), all];
  }
  if (show === "deleted") {
    return [element("p", {}, "No picture is deleted.")];
  }
  const choose = button("Upload pictures", () => byId("files").click(), { class: "primary" });
  return [element("p", {}, "This project has no pictures yet. Drop some here, or choose them:"), choose];
}

function pages(page, last) {
  const link = (label, name, target) => {
    const reachable = target >= 1 && target <= last && target !== page;
    const href = reachable ? addressWith({ page: target === 1 ? undefined : String(target) }) : null;
    const click = () => {
      focusResults = reachable;
    };
    const disabled = reachable ? null : "true";
    return element("a", { class: "button", href, "aria-label": name, "aria-disabled": disabled, onclick: click }, label);
  };
  return [
    link("«", "First page", 1),
    link("‹", "Page before", page - 1),
    element("span", {}, `Page ${page} of ${last}`),
    link("›", "Next page", page + 1),
    link("»", "Last page", last),
  ];
}
