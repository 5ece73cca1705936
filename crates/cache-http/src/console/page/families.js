// The table of families, with a sparkline each.

import { $, el, update } from "./dom.js";
import { bytes, count, duration, percent } from "./format.js";
import { sparkline } from "./chart.js";

const SLOTS = 60;

/** Hits and misses in the last seconds, by family. */
const recent = new Map();

/** The figures of the last sample, by family. */
let last = new Map();

const COLUMNS = [
  ["Entries", (f) => count(f.entries)],
  ["Size", (f) => bytes(f.bytes)],
  ["Hits", (f) => count(f.hits)],
  ["Misses", (f) => count(f.misses)],
  ["Hit ratio", (f) => percent(f.hit_ratio)],
  ["Mean load", (f) => duration(f.mean_load_ms)],
  ["Time saved", (f) => duration(f.saved_ms)],
  ["Refused fills", (f) => count(f.fills_refused)],
];

function push(queue, n) {
  queue.push(Math.max(0, n));
  if (queue.length > SLOTS) queue.shift();
}

function row(family) {
  const spark = recent.get(family.name) ?? { hits: [], misses: [] };
  const cells = COLUMNS.map(([label, text]) => el("td", { "data-label": label, role: "cell" }, text(family)));
  return el("tr", { role: "row" },
    el("th", { scope: "row", role: "rowheader", class: "key" }, family.name),
    cells,
    el("td", { class: "left wide", role: "cell" }, sparkline(spark.hits, spark.misses, SLOTS)));
}

function render(families) {
  const body = $("families-body");
  if (families.length === 0) {
    update(body, el("p", { class: "hint" }, "Nothing was looked up yet. A family is the first part of a key: user:7 is of the family user."));
    return;
  }
  const head = COLUMNS.map(([label]) => el("th", { scope: "col", role: "columnheader" }, label));
  update(body, el("table", { class: "cards", role: "table", "aria-labelledby": "families-title" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" },
      el("th", { scope: "col", role: "columnheader" }, "Family"), head,
      el("th", { scope: "col", role: "columnheader", class: "left" }, "Last minute"))),
    el("tbody", { role: "rowgroup" }, families.map(row))));
}

/** Begins with the answer of `families`. */
export function beginFamilies({ families }) {
  recent.clear();
  for (const family of families) recent.set(family.name, family.recent);
  last = new Map(families.map((family) => [family.name, family]));
  render(families);
}

/** Adds a sample. */
export function addFamilies(families) {
  for (const family of families) {
    const before = last.get(family.name) ?? { hits: 0, misses: 0 };
    const spark = recent.get(family.name) ?? { hits: [], misses: [] };
    push(spark.hits, family.hits - before.hits);
    push(spark.misses, family.misses - before.misses);
    recent.set(family.name, spark);
  }
  last = new Map(families.map((family) => [family.name, family]));
  render(families);
}
