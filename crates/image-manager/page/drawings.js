// Results of analyses as pictures, in SVG.

import { element } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100;

/** Draws the histogram of each channel: how many pixels have each of the values 0 to 255. */
export function histogram({ luminance, red, green, blue }) {
  const all = [...luminance, ...red, ...green, ...blue].sort((one, other) => one - other);
  // A few values that most pixels have, such as a white background, would flatten all others.
  const tallest = all[Math.floor(all.length * 0.995)] || all[all.length - 1] || 1;
  const channels = Object.entries({ luminance, red, green, blue });
  const paths = channels.map(([name, counts]) => shape("path", { class: name, d: outline(counts, tallest) }));
  const label = `Half of the pixels are darker than ${median(luminance)} of 255.`;
  const attributes = { viewBox: `0 0 256 ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `Histogram. ${label}` };
  const scale = element("p", { class: "scale", "aria-hidden": "true" });
  scale.append(...["0 dark", "128", "255 bright"].map((text) => element("span", {}, text)));
  return [shape("svg", { class: "histogram", ...attributes }, ...paths), scale, element("p", {}, label)];
}

/** Draws a field of one colour. */
export function swatch(colour) {
  const field = shape("rect", { width: 1, height: 1, fill: colour });
  const attributes = { viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "img", "aria-label": `Colour ${colour}` };
  return shape("svg", { class: "swatch", ...attributes }, field);
}

function outline(counts, tallest) {
  const point = (count, value) => `L${value} ${(HEIGHT * (1 - Math.min(1, count / tallest))).toFixed(1)}h1`;
  return `M0 ${HEIGHT}${counts.map(point).join("")}V${HEIGHT}z`;
}

/** Returns the value that half of the counted pixels are below. */
function median(counts) {
  let rest = counts.reduce((sum, count) => sum + count, 0) / 2;
  return Math.max(0, counts.findIndex((count) => (rest -= count) <= 0));
}

function shape(tag, attributes, ...children) {
  const created = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    created.setAttribute(name, value);
  }
  created.append(...children);
  return created;
}
