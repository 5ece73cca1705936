// The checks of the doctor.

import { $, el, failure } from "./dom.js";
import { get } from "./api.js";

const WORDS = { fine: ["good-text", "Fine"], doubtful: ["warn-text", "Look at it"], wrong: ["bad-text", "Wrong"] };

function check({ name, result, found, advice }) {
  const [colour, word] = WORDS[result] ?? ["", result];
  return el("li", { class: result },
    el("p", {}, el("strong", { class: colour }, word), ` · ${name}: ${found}`),
    advice ? el("p", { class: "hint" }, "What to do: ", advice) : null);
}

export function setUpDoctor() {
  $("diagnose").addEventListener("click", async ({ target }) => {
    target.disabled = true;
    try {
      const { healthy, checks } = await get("doctor");
      const rank = { wrong: 0, doubtful: 1, fine: 2 };
      checks.sort((a, b) => rank[a.result] - rank[b.result]);
      const doubts = checks.filter((one) => one.result === "doubtful").length;
      const summary = healthy ? (doubts > 0 ? `Nothing is wrong, ${doubts} to look at.` : "Nothing is wrong.") : "Something is wrong.";
      $("doctor-answer").replaceChildren(el("p", {}, summary), el("ul", { class: "checks" }, checks.map(check)));
    } catch (error) {
      $("doctor-answer").replaceChildren(failure(error));
    }
    target.disabled = false;
  });
}
