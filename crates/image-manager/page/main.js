// The page: what is shown follows from the address, and from the viewer.

import { address, goInstead } from "./address.js";
import { get } from "./api.js";
import { button, byId, element } from "./dom.js";
import { clearGallery, showGallery } from "./gallery.js";
import { startHealth } from "./health.js";
import { followImage, startImage } from "./image.js";
import { startMembers } from "./members.js";
import { clearNotice, complain } from "./notice.js";
import { loadProjects, markProject, startProjects } from "./projects.js";
import { showSearch, startSearch } from "./search.js";
import { startUploads } from "./upload.js";
import { startViewer } from "./viewer.js";

let projects = null;
let project;
/** The listing that the gallery shows. */
let listed;
let isLoading = false;

/** Loads everything again. */
async function reload() {
  isLoading = true;
  const loaded = await loadProjects();
  if (loaded === undefined) {
    return; // A later load goes on.
  }
  projects = loaded;
  isLoading = false;
  listed = undefined;
  await follow();
}

/** Begins anew with the first project. */
async function restart() {
  project = undefined;
  isLoading = true;
  clearGallery(); // Pictures of the viewer before are not shown under the name of the new one.
  location.replace("#/");
  await reload();
}

/** Shows what the address names; without a project in it, the first one. */
async function follow() {
  if (isLoading) {
    return;
  }
  if (!address().project && projects?.length) {
    goInstead({ project: projects[0].id });
    return;
  }
  if (listing() !== listed) {
    listed = listing();
    await showProject(address().project);
  }
  followImage();
}

/** Returns the part of the address that the gallery shows. */
function listing() {
  const { image, ...rest } = address();
  return JSON.stringify(rest);
}

async function showProject(id) {
  const before = project?.id;
  project = projects?.find((candidate) => candidate.id === id) ?? (id ? await namedProject(id) : undefined);
  const name = project?.name ?? (projects?.length === 0 ? "No project yet" : "No project");
  byId("project-name").textContent = name;
  byId("project-name").title = name;
  byId("project-actions").hidden = byId("search").hidden = byId("results-heading").hidden = !project;
  document.title = project ? `${name} – Image manager` : "Image manager";
  markProject(id);
  showSearch();
  if (project) {
    if (before !== id) {
      clearGallery();
    }
    await showGallery();
  } else {
    clearGallery();
    if (projects?.length === 0) {
      const advice = "You are a member of no project. Create one, or choose another viewer.";
      byId("empty").append(element("p", {}, advice), button("New project", () => byId("new-project").click()));
    }
  }
}

/** Gets a project that is not in the list: one that is new, or that the viewer may not see. */
async function namedProject(id) {
  try {
    return (await get(`/api/projects/${encodeURIComponent(id)}`)).data;
  } catch (error) {
    complain("The project cannot be shown", error);
    return undefined;
  }
}

function shownProject() {
  return project;
}

startViewer(() => {
  clearNotice();
  byId("uploads").hidden = true;
  restart();
});
startProjects(shownProject, reload, restart);
startMembers(shownProject, (changed) => {
  project = changed;
  projects = projects?.map((other) => (other.id === changed.id ? changed : other)) ?? null;
});
startSearch();
startUploads(shownProject, showGallery);
startImage();
startHealth(reload);
byId("skip").addEventListener("click", () => byId("results").focus());
addEventListener("hashchange", () => {
  if (listing() !== listed) {
    clearNotice();
  }
  follow();
});
// A link does not name the chosen viewer, so that this request does not either.
fetch("/cache/index.html", { method: "HEAD" }).then(({ ok }) => (byId("console").hidden = !ok), () => {});
reload();
