// Analyses of an image's pixels. Those that were asked for before are shown at once.

import { change, get } from "./api.js";
import { badge } from "./badge.js";
import { button, byId, element } from "./dom.js";
import { histogram, swatch } from "./drawings.js";
import { complain } from "./notice.js";

const KINDS = {
  histogram: { label: "Histogram", show: histogram },
  mean_colour: { label: "Mean colour", show: meanColour },
  sharpness: { label: "Sharpness", show: sharpness },
};

/** Shows the analyses that an image has, and buttons for the others. */
export async function showAnalyses(image, signal) {
  clearAnalyses();
  if (image.deleted_at) {
    byId("analyses").replaceChildren(element("p", {}, "Restore the image to analyse it."));
    return;
  }
  const buttons = Object.entries(KINDS).map(([kind, { label }]) => {
    const asked = button(label, () => ask(image, kind, asked, signal));
    return [kind, asked];
  });
  byId("analysis-kinds").replaceChildren(...buttons.map(([, asked]) => asked));
  const { data } = await get(`/api/images/${image.id}/analyses`, { signal });
  const known = new Map(data.items.map(({ kind, id }) => [kind, id]));
  for (const [kind, asked] of buttons.filter(([kind]) => known.has(kind))) {
    asked.disabled = true;
    await showResults(known.get(kind), kind, signal);
  }
}

/** Shows no analyses. */
export function clearAnalyses() {
  byId("analysis-kinds").replaceChildren();
  byId("analyses").replaceChildren();
}

async function ask(image, kind, asked, signal) {
  asked.disabled = true;
  try {
    const { id } = await change("POST", `/api/images/${image.id}/analyses`, { kind });
    await showResults(id, kind, signal);
  } catch (error) {
    asked.disabled = false;
    complain("The picture cannot be analysed", error);
  }
}

async function showResults(id, kind, signal) {
  const { data, cache } = await get(`/api/analyses/${id}/results`, { signal });
  const { label, show } = KINDS[kind];
  const heading = element("h4", {}, `${label} `, badge(cache));
  const section = element("section", { class: "analysis", "data-kind": kind }, heading, ...show(data.results));
  const place = ({ dataset }) => Object.keys(KINDS).indexOf(dataset.kind);
  const sections = [...byId("analyses").children, section].sort((one, other) => place(one) - place(other));
  byId("analyses").replaceChildren(...sections);
}

function meanColour({ hex, red, green, blue }) {
  const parts = [red, green, blue].map((value) => value.toFixed(1)).join(", ");
  return [swatch(hex), element("p", {}, `${hex} (red, green, blue: ${parts})`)];
}

function sharpness({ variance_of_laplacian: variance }) {
  return [element("p", {}, `${variance.toFixed(1)}: the higher, the sharper (variance of the Laplacian)`)];
}
