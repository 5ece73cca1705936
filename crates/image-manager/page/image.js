// The view of one image: the picture, facts, metadata, analyses; deletion, restoration and replacement.

import { address, addressWith, goInstead } from "./address.js";
import { change, get, getThumbnail, send } from "./api.js";
import { clearAnalyses, showAnalyses } from "./analyses.js";
import { badge } from "./badge.js";
import { button, byId, element, openDialog, written } from "./dom.js";
import { neighbours, restore, showGallery } from "./gallery.js";
import { isEdited, showMetadata } from "./metadata.js";
import { clearNotice, complain, say } from "./notice.js";
import { sendFile } from "./send_file.js";
import { picture } from "./thumbnails.js";

const SIDE = 1024;

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

let loading = new AbortController();
let shown;

/** Listens to the dialog. */
export function startImage() {
  const dialog = byId("image-dialog");
  const keepEdits = (event) => {
    if (isEdited()) {
      event.preventDefault();
      say("The metadata are edited: save or discard them first.");
    }
  };
  byId("image-before").addEventListener("click", keepEdits);
  byId("image-after").addEventListener("click", keepEdits);
  dialog.addEventListener("cancel", (event) => {
    // A choice of a file that is cancelled sends this event, too.
    if (event.target === dialog) {
      keepEdits(event);
      if (!event.defaultPrevented) {
        event.preventDefault();
        leave();
      }
    }
  });
  // Some browsers close a dialog at the second Escape whatever the listener of `cancel` says.
  dialog.addEventListener("close", () => !dialog.open && shown && leave());
  byId("replacement").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) {
      replace(shown, file);
    }
  });
}

/** Opens or closes the view as the address says. */
export function followImage() {
  const { image } = address();
  if (!image) {
    leave();
  } else if (image !== shown?.id) {
    showImage(image);
  }
}

/** Closes the view, and goes to the address of the gallery. */
function leave() {
  loading.abort();
  shown = undefined;
  byId("image-dialog").close();
  if (address().image) {
    goInstead({ image: undefined });
  }
}

async function showImage(id) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  openDialog(byId("image-dialog"));
  if (shown?.id !== id) {
    shown = { id };
    clear(id);
  }
  try {
    const image = await showDetails(id, signal);
    await Promise.all([showPicture(image, signal), showAnalyses(image, signal)]);
  } catch (error) {
    complain("The picture cannot be shown", error);
  }
}

/** Shows all but the pixels and what is computed from them. */
async function showDetails(id, signal) {
  const { data, text, cache } = await get(`/api/images/${encodeURIComponent(id)}?include_deleted=true`, { signal });
  shown = data;
  byId("image-name").textContent = data.filename;
  byId("image-facts").replaceChildren(...facts(data, cache));
  byId("image-actions").replaceChildren(...actions(data));
  showMetadata(data, text, saved);
  return data;
}

/** Empties the view for another image, so that nothing of the last one stays. */
function clear(id) {
  for (const part of ["image-name", "image-stage", "image-badge", "image-facts", "image-actions", "metadata"]) {
    byId(part).replaceChildren();
  }
  clearAnalyses();
  clearNotice();
  const [before, after] = neighbours(id);
  link(byId("image-before"), before);
  link(byId("image-after"), after);
}

function link(anchor, image) {
  if (image) {
    anchor.href = addressWith({ image });
    anchor.removeAttribute("aria-disabled");
  } else {
    anchor.removeAttribute("href");
    anchor.setAttribute("aria-disabled", "true");
  }
}

async function showPicture(image, signal) {
  const stage = byId("image-stage");
  if (image.deleted_at) {
    stage.replaceChildren(element("p", { class: "trouble" }, "The picture of a deleted image is not shown."));
    return;
  }
  try {
    const { blob, cache } = await getThumbnail(image.id, SIDE, signal);
    const large = picture(blob, image.filename);
    const scale = Math.min(1, SIDE / image.width, SIDE / image.height);
    large.width = Math.max(1, Math.round(image.width * scale));
    large.height = Math.max(1, Math.round(image.height * scale));
    stage.replaceChildren(large);
    byId("image-badge").replaceChildren(badge(cache) ?? "");
  } catch (error) {
    if (!signal.aborted) {
      stage.replaceChildren(element("p", { class: "trouble" }, error.message));
      complain("The picture cannot be shown", error);
    }
  }
}

function facts(image, cache) {
  const time = (text) => element("time", { datetime: text }, moment.format(new Date(text)));
  const rows = [
    ["Size", `${image.width} × ${image.height} pixels`],
    ["File", `${image.content_type}, ${bytes(image.size_bytes)}`],
    ["Uploaded", element("span", {}, time(image.created_at), " by ", written(image.uploaded_by))],
    ["Changed", time(image.updated_at)],
    ["Deleted", image.deleted_at && time(image.deleted_at)],
    ["Cache", badge(cache)],
  ];
  return rows
    .filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
}

function bytes(count) {
  const units = ["bytes", "KB", "MB"];
  const unit = count < 1024 ? 0 : count < 1024 * 1024 ? 1 : 2;
  const number = count / 1024 ** unit;
  return `${unit ? number.toFixed(number < 10 ? 1 : 0) : count} ${units[unit]}`;
}

function actions(image) {
  if (image.deleted_at) {
    return [button("Restore", () => restored(image), { class: "primary" })];
  }
  return [
    button("Download original", () => download(image)),
    button("Replace picture", () => byId("replacement").click()),
    button("Delete", () => remove(image), { class: "danger" }),
  ];
}

async function saved(image) {
  say("The metadata are saved.");
  showGallery();
  try {
    await showDetails(image.id, loading.signal);
  } catch (error) {
    complain("The picture cannot be shown", error);
  }
}

async function restored(image) {
  await restore(image.id, image.filename);
  await showImage(image.id);
}

async function remove(image) {
  try {
    await change("DELETE", `/api/images/${image.id}`);
    leave();
    say(`Deleted ${image.filename}`, button("Restore", () => restore(image.id, image.filename)));
    showGallery();
  } catch (error) {
    complain("The image cannot be deleted", error);
  }
}

async function replace(image, file) {
  try {
    const progress = (share) => say(`Sending ${file.name}: ${Math.floor(share * 100)} %`);
    await sendFile("PUT", `/api/images/${image.id}/file`, file, progress);
    showGallery();
    await showImage(image.id);
    say(`The picture is now ${file.name}.`);
  } catch (error) {
    complain("The picture cannot be replaced", error);
  }
}

async function download(image) {
  try {
    const original = await send("GET", `/api/images/${image.id}/content`);
    const url = URL.createObjectURL(await original.blob());
    element("a", { href: url, download: image.filename }).click();
    // Some browsers read the picture after the click.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    complain("The original cannot be downloaded", error);
  }
}
