// The timeline of the last minutes.

import { $, el, say, update } from "./dom.js";
import { count, duration, percent, time } from "./format.js";
import { swatch, timeline } from "./chart.js";

/** The shortest and the longest time that is shown. */
const [SHORTEST, LONGEST] = [60_000, 300_000];
const TABLE_ROWS = 30;

let points = [];
const chart = el("div", {});
const summary = el("p", { id: "timeline-summary", class: "hint" }, "Waiting for the first figures.");
const rows = el("tbody", {});
const table = el("details", {},
  el("summary", {}, "The last half minute as a table"),
  el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The last half minute as a table" },
    el("table", {},
      el("thead", {}, el("tr", {}, ["Time", "State", "Hits", "Misses", "Invalidations", "Evictions", "Loads"].map((name) => el("th", { scope: "col" }, name)))),
      rows)));

function summarize(shown) {
  const sum = (of) => shown.reduce((total, point) => total + of(point), 0);
  const [hits, misses] = [sum((p) => p.hits), sum((p) => p.misses)];
  const outages = shown.filter((p) => p.status === "degraded").length;
  const seconds = sum((p) => p.seconds);
  return `In the last ${duration(seconds * 1000)}: ${count(hits)} hits, ${count(misses)} misses (${percent(hits + misses > 0 ? hits / (hits + misses) : null)} hits), `
    + `${count(sum((p) => p.invalidations))} invalidations, ${count(sum((p) => p.evictions))} evictions`
    + (outages > 0 ? `, ${outages} s of it in an outage.` : ".");
}

function render() {
  if (points.length === 0) return;
  const to = points.at(-1).at_ms;
  const from = Math.min(to - SHORTEST, Math.max(to - LONGEST, points[0].at_ms - points[0].seconds * 1000));
  const shown = points.filter((point) => point.at_ms > from);
  const width = Math.max(280, Math.round($("timeline-body").clientWidth));
  chart.replaceChildren(timeline(shown, from, to, width));
  say(summary, summarize(shown));
  if (table.open) {
    update(rows, shown.slice(-TABLE_ROWS).reverse().map((p) => el("tr", {},
      el("td", {}, time(p.at_ms)), el("td", {}, p.status),
      [p.hits, p.misses, p.invalidations, p.evictions, p.loads].map((n) => el("td", {}, count(n))))));
  }
}

/** Begins with the answer of `timeline`. */
export function beginTimeline(answer) {
  points = answer.points;
  $("timeline-body").replaceChildren(
    chart,
    el("ul", { class: "legend" },
      swatch("hit", "hits a second"), swatch("miss", "misses a second"), swatch("mark", "invalidations"),
      swatch("evict", "evictions"), swatch("outage", "outage"), swatch("gap", "not watched")),
    summary, table);
  table.addEventListener("toggle", render);
  new ResizeObserver(render).observe($("timeline-body"));
  render();
}

/** Adds a sample. */
export function addPoint(point) {
  points.push(point);
  if (points.length > 1000) points.shift();
  render();
}
