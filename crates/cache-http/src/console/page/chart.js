// Pictures made of SVG: sparklines, and the timeline.

import { el, svg } from "./dom.js";
import { count, time } from "./format.js";

/** Bars of hits with misses on top of them, one for each second. */
export function sparkline(hits, misses, slots) {
  const most = Math.max(1, ...hits.map((n, at) => n + misses[at]));
  const bars = hits.flatMap((hit, at) => {
    const x = slots - hits.length + at;
    const height = (n) => (n / most) * 30;
    return [
      hit > 0 ? svg("rect", { class: "hit", x, y: 30 - height(hit), width: .85, height: height(hit) }) : null,
      misses[at] > 0
        ? svg("rect", { class: "miss", x, y: 30 - height(hit) - height(misses[at]), width: .85, height: height(misses[at]) })
        : null,
    ];
  });
  return svg("svg", { class: "spark", viewBox: `0 0 ${slots} 30`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars);
}

/** The largest value of a scale with round steps. */
function top(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, most)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most) ?? most;
}

/** The times in which points follow each other and `is` holds, as pairs of start and end. */
function runs(points, is) {
  const found = [];
  for (const p of points) {
    if (!is(p)) continue;
    const start = p.at_ms - p.seconds * 1000;
    const last = found.at(-1);
    if (last && start - last[1] < SLACK) last[1] = p.at_ms;
    else found.push([start, p.at_ms]);
  }
  return found;
}

/** The times from `from` on of which there are no points. */
function bands(points, from) {
  const found = [];
  let end = from;
  for (const [start, stop] of runs(points, () => true)) {
    if (start - end > SLACK) found.push([end, start]);
    end = stop;
  }
  return found;
}

/** Points that are this many milliseconds apart follow each other. */
const SLACK = 1500;

const HEIGHT = 224;
const [LEFT, RIGHT, ABOVE, BELOW] = [46, 8, 20, 22];

/** The timeline of points with `at_ms`, from `from` to `to`; `width` in pixels. */
export function timeline(points, from, to, width) {
  const [plotWidth, plotHeight] = [width - LEFT - RIGHT, HEIGHT - ABOVE - BELOW];
  const x = (at) => LEFT + ((at - from) / (to - from)) * plotWidth;
  const most = top(Math.max(1, ...points.map((p) => (p.hits + p.misses) / p.seconds)));
  const y = (n) => ABOVE + plotHeight - (n / most) * plotHeight;
  const band = (name) => (start, end) => svg("rect", { class: name, x: Math.max(LEFT, x(start)), width: x(end) - Math.max(LEFT, x(start)), y: ABOVE, height: plotHeight });
  const parts = [
    bands(points, from).map(([start, end]) => band("gap")(start, end)),
    runs(points, (p) => p.status === "degraded").map(([start, end]) => band("outage")(start, end)),
  ];
  for (const p of points) {
    const [left, right] = [Math.max(LEFT, x(p.at_ms - p.seconds * 1000)), x(p.at_ms)];
    const box = { x: left, width: Math.max(.5, right - left - .3) };
    const [hits, all] = [p.hits / p.seconds, (p.hits + p.misses) / p.seconds];
    if (p.hits > 0) parts.push(svg("rect", { class: "hit", ...box, y: y(hits), height: y(0) - y(hits) }));
    if (p.misses > 0) parts.push(svg("rect", { class: "miss", ...box, y: y(all), height: y(hits) - y(all) }));
    if (p.invalidations > 0) {
      const tip = Math.min(right, LEFT + plotWidth - 4);
      parts.push(svg("path", { class: "mark", d: `M${tip - 4} 3 h8 l-4 8 z` }, svg("title", {}, `${p.invalidations} invalidations`)));
    }
    if (p.evictions > 0) {
      parts.push(svg("circle", { class: "evict", cx: Math.min(right, LEFT + plotWidth - 4), cy: 15, r: 3 }, svg("title", {}, `${p.evictions} evictions`)));
    }
  }
  const lines = [0, .5, 1].map((share) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(most * share), y2: y(most * share) }),
    svg("text", { x: LEFT - 6, y: y(most * share) + 4, "text-anchor": "end" }, count(most * share)),
  ]);
  const steps = width < 500 ? 2 : 5;
  const times = Array.from({ length: steps + 1 }, (_, at) => {
    const moment = from + ((to - from) * at) / steps;
    const anchor = at === 0 ? "start" : at === steps ? "end" : "middle";
    return svg("text", { x: x(moment), y: HEIGHT - 4, "text-anchor": anchor }, time(moment));
  });
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-labelledby": "timeline-summary" }, lines, parts, times);
}

/** A sample of the colour of a class, for a legend. */
export function swatch(name, text) {
  const shapes = {
    mark: () => svg("path", { class: "mark", d: "M2 3 h12 l-6 11 z" }),
    evict: () => svg("circle", { class: "evict", cx: 8, cy: 8, r: 5 }),
  };
  const shape = shapes[name]?.() ?? svg("rect", { class: name, width: 16, height: 16, rx: 3 });
  return el("li", {}, svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, shape), text);
}
