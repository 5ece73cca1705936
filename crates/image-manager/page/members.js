// The members of a project.

import { change } from "./api.js";
import { button, byId, element, openDialog, written } from "./dom.js";
import { complain, say } from "./notice.js";

/** Listens to the button; `project` returns the one that is shown, `changed` is called with it as it then is. */
export function startMembers(project, changed) {
  const form = byId("member-form");
  const set = async (members) => {
    try {
      const after = await change("PUT", `/api/projects/${project().id}/members`, { members });
      changed(after);
      show(after.members, set);
      return true;
    } catch (error) {
      complain("The members cannot be changed", error);
      return false;
    }
  };
  byId("members").addEventListener("click", () => {
    form.reset();
    show(project().members, set);
    openDialog(byId("members-dialog"));
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = form.elements.member.value;
    if (await set([...project().members, name])) {
      form.reset();
      say(`Added ${name}`);
    }
  });
}

function show(members, set) {
  const rows = members.map((member) => {
    const remove = async () => {
      if (await set(members.filter((other) => other !== member))) {
        say(`Removed ${member}`);
        byId("member-form").elements.member.focus();
      }
    };
    return element("li", {}, written(member), button("Remove", remove, { "aria-label": `Remove ${member}` }));
  });
  byId("member-list").replaceChildren(...rows);
}
