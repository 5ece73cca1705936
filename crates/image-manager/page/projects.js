// The projects of the viewer: list, creation and deletion.

import { address, go } from "./address.js";
import { change, get } from "./api.js";
import { byId, element, openDialog } from "./dom.js";
import { complain, say } from "./notice.js";

let loading = new AbortController();

/** Loads and shows the list. Returns it; null if it cannot be loaded, undefined if a later call loads it. */
export async function loadProjects() {
  loading.abort();
  const { signal } = loading = new AbortController();
  try {
    const { data } = await get("/api/projects", { signal });
    const links = data.items.map((project) => {
      const name = element("span", { class: "name", dir: "auto" }, project.name);
      return element("li", {}, element("a", { href: `#/${project.id}`, title: project.name }, name));
    });
    byId("projects").replaceChildren(...links);
    return data.items;
  } catch (error) {
    if (signal.aborted) {
      return undefined;
    }
    byId("projects").replaceChildren();
    complain("The projects cannot be listed", error);
    return null;
  }
}

/** Marks the project that is shown. */
export function markProject(id) {
  for (const link of byId("projects").querySelectorAll("a")) {
    if (link.hash === `#/${id}`) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
}

/** Listens to the buttons; `reload` is called after a creation, `restart` after a deletion, `project` returns the one shown. */
export function startProjects(project, reload, restart) {
  byId("projects-toggle").addEventListener("click", () => unfold(!isUnfolded()));
  byId("projects").addEventListener("click", () => unfold(false));
  byId("new-project").addEventListener("click", () => {
    byId("project-dialog").querySelector("form").reset();
    openDialog(byId("project-dialog"));
  });
  byId("project-dialog").addEventListener("submit", (event) => {
    event.preventDefault();
    create(event.target.elements.name.value, reload);
  });
  byId("delete-project").addEventListener("click", () => {
    byId("confirm-name").textContent = project().name;
    openDialog(byId("confirm-dialog"));
  });
  byId("confirm-dialog").addEventListener("submit", (event) => {
    event.preventDefault();
    remove(project(), restart);
  });
}

async function create(name, reload) {
  try {
    const project = await change("POST", "/api/projects", { name });
    byId("project-dialog").close();
    await reload();
    go({ ...blank(), project: project.id });
  } catch (error) {
    complain("The project cannot be created", error);
  }
}

async function remove({ id, name }, restart) {
  try {
    await change("DELETE", `/api/projects/${id}`);
    byId("confirm-dialog").close();
    await restart();
    say(`Deleted the project ${name}`);
  } catch (error) {
    complain("The project cannot be deleted", error);
  }
}

/** The changes to an address that leave the project alone in it. */
function blank() {
  return Object.fromEntries(Object.keys(address()).map((name) => [name, undefined]));
}

function isUnfolded() {
  return byId("projects-toggle").getAttribute("aria-expanded") === "true";
}

/** Shows or hides the list where the window is too narrow to show it always. */
function unfold(wanted) {
  byId("projects-toggle").setAttribute("aria-expanded", String(wanted));
}
