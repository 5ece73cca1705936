// Uploads: files that are chosen or dropped, sent a few at a time, each with its progress.

import { addressWith } from "./address.js";
import { button, byId, element, written } from "./dom.js";
import { explained, say } from "./notice.js";
import { sendFile } from "./send_file.js";

const AT_ONCE = 2;

const waiting = [];
const counts = { all: 0, done: 0, failed: 0 };
let running = 0;

/** Listens to the button and to drops. `project` returns the one that is shown, `uploaded` is called after the last file. */
export function startUploads(project, uploaded) {
  const add = (files) => {
    for (const file of files) {
      enqueue(project().id, file, uploaded);
    }
    startNext(uploaded);
  };
  byId("choose-files").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", ({ target }) => {
    add(target.files);
    target.value = "";
  });
  byId("uploads-close").addEventListener("click", () => {
    byId("uploads").hidden = true;
    byId("choose-files").focus();
  });
  startDrops(() => project() !== undefined && !document.querySelector("dialog[open]"), add);
}

function startDrops(isWelcome, add) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (shown) => {
    byId("drop").hidden = !shown;
  };
  addEventListener("dragover", (event) => {
    if (hasFiles(event)) {
      event.preventDefault();
      event.dataTransfer.dropEffect = isWelcome() ? "copy" : "none";
      show(isWelcome());
    }
  });
  addEventListener("dragleave", (event) => show(event.relatedTarget !== null && !byId("drop").hidden));
  addEventListener("drop", (event) => {
    show(false);
    if (!hasFiles(event)) {
      return;
    }
    event.preventDefault();
    if (!isWelcome()) {
      return;
    }
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    const isFolder = (item) => item.webkitGetAsEntry?.()?.isDirectory;
    if (items.some(isFolder)) {
      say("Folders are not uploaded: drop the pictures inside them.");
    }
    add(items.filter((item) => !isFolder(item)).map((item) => item.getAsFile()).filter(Boolean));
  });
}

function enqueue(project, file, uploaded) {
  if (running === 0 && waiting.length === 0) {
    Object.assign(counts, { all: 0, done: 0, failed: 0 });
    byId("upload-list").replaceChildren();
  }
  const bar = element("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
  const state = element("span", { class: "upload-state" }, "waiting");
  const row = element("li", {}, written(file.name), bar, state);
  byId("upload-list").append(row);
  byId("uploads").hidden = false;
  counts.all += 1;
  waiting.push(() => run(project, file, { bar, state, row }, uploaded));
  summarise();
}

function startNext(uploaded) {
  while (running < AT_ONCE && waiting.length > 0) {
    running += 1;
    waiting.shift()().finally(() => {
      running -= 1;
      summarise();
      if (running === 0 && waiting.length === 0) {
        uploaded();
      }
      startNext(uploaded);
    });
  }
}

async function run(project, file, { bar, state, row }, uploaded) {
  const progress = (share) => {
    bar.value = share;
    state.textContent = share < 1 ? `${Math.floor(share * 100)} %` : "being checked";
  };
  progress(0);
  try {
    const image = await sendFile("POST", `/api/projects/${project}/images`, file, progress);
    counts.done += 1;
    const view = element("a", { href: addressWith({ project, image: image.id }) }, "View");
    view.setAttribute("aria-label", `View ${image.filename}`);
    state.replaceChildren("done ", view);
  } catch (error) {
    counts.failed += 1;
    const retry = () => {
      counts.failed -= 1;
      row.classList.remove("failed");
      waiting.push(() => run(project, file, { bar, state, row }, uploaded));
      startNext(uploaded);
    };
    row.classList.add("failed");
    const reason = explained(error);
    state.replaceChildren(`${reason[0].toUpperCase()}${reason.slice(1)} `, button("Try again", retry));
  }
}

function summarise() {
  const failed = counts.failed ? `, ${counts.failed} failed` : "";
  byId("uploads-summary").textContent = `${counts.done} of ${counts.all} uploaded${failed}`;
}
