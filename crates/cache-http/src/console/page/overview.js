// The tiles of the overview, and the status in the header.

import { $, el, say, update } from "./dom.js";
import { bytes, count, duration, percent, rate } from "./format.js";

const STATUS = {
  ok: ["good", "Working"],
  degraded: ["bad", "Degraded"],
  off: ["warn", "Switched off"],
};

const BREAKER = {
  closed: "closed: Redis is in use",
  open: "open: Redis is away",
  half_open: "half open: Redis is being probed",
};

function tile(title, value, rows = [], extra = null) {
  const list = rows.map(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]);
  return el("div", { class: "tile" },
    el("h3", {}, title),
    el("p", { class: String(value).length > 12 ? "value small" : "value" }, value),
    extra,
    list.length > 0 ? el("dl", {}, list) : null);
}

function backend({ health }) {
  const rows = [["since", new Date(health.since).toLocaleString()]];
  if (health.wanted !== health.active) rows.push(["configured", health.wanted]);
  if (health.breaker) rows.push(["breaker", BREAKER[health.breaker] ?? health.breaker]);
  if (health.journal !== "none") rows.push(["journal", `${count(health.journal_depth)} waiting, in ${health.journal}`]);
  if (health.panics > 0) rows.push(["panics caught", count(health.panics)]);
  return tile("Backend", health.active, rows, health.cause ? el("p", { class: "bad-text" }, health.cause) : null);
}

function lasting(seconds) {
  return seconds < 60 ? `${seconds} s` : `${count(seconds)} s`;
}

/** Windows that are not watched as a whole yet say for how long they are. */
function over({ seconds, covered_seconds: covered }) {
  return covered > 0 && covered < seconds * .95 ? `${lasting(seconds)} (${Math.round(covered)} s seen)` : lasting(seconds);
}

function ratio({ windows, figures }) {
  const rows = windows.map((window) => [over(window), percent(window.hit_ratio)]);
  rows.push(["since start", percent(figures.hits + figures.misses > 0 ? figures.hit_ratio : null)]);
  const recent = windows.find((window) => window.hit_ratio != null);
  const hint = recent ? `In the last ${lasting(recent.seconds)}.` : "Since start.";
  const shown = recent?.hit_ratio ?? (figures.hits + figures.misses > 0 ? figures.hit_ratio : null);
  return tile("Hit ratio", percent(shown), rows, el("p", { class: "hint" }, hint));
}

function loads({ windows, figures }) {
  const each = (ms) => (ms == null ? "" : ` · ${duration(ms)}`);
  const rows = windows.map((window) => [over(window), `${rate(window.loads_per_second)}/s${each(window.mean_load_ms)}`]);
  rows.push(["since start", `${count(figures.loads)}${each(figures.mean_load_ms)}`]);
  if (figures.loads_failed > 0) rows.push(["failed", count(figures.loads_failed)]);
  return tile("Loads", `${rate(windows[0].loads_per_second)} / s`, rows, el("p", { class: "hint" }, "How many, and the mean time of one."));
}

function saved({ windows, figures }) {
  const rows = windows.map((window) => [over(window), duration(window.saved_ms)]);
  if (figures.hits_unmeasured > 0) rows.push(["hits not counted", count(figures.hits_unmeasured)]);
  const hint = el("p", { class: "hint" }, "Hits × the mean time of a load, since start.");
  return tile("Time saved", duration(figures.saved_ms), rows, hint);
}

function size({ figures }) {
  const share = Math.min(100, figures.usage_percent);
  const about = figures.approximate ? "≈ " : "";
  const rows = [["entries", about + count(figures.entries)]];
  if (figures.disk_bytes > 0) rows.push(["on disk", bytes(figures.disk_bytes)]);
  rows.push(["evicted", count(figures.evictions)], ["expired", count(figures.expirations)]);
  const text = figures.limit_bytes > 0 ? `${share} % of ${bytes(figures.limit_bytes)}` : "no limit";
  const meter = el("meter", { min: 0, max: 100, low: 70, high: 95, optimum: 0, value: share, "aria-label": "Share of the limit" }, text);
  return tile("Size", about + bytes(figures.size_bytes), rows, el("div", {}, meter, el("p", { class: "hint" }, text)));
}

function memory({ figures, health }) {
  const { near } = figures;
  const rows = [["hits", count(near.hits)], ["values", count(near.entries)], ["dropped as outdated", count(near.outdated)]];
  if (health.near) rows.push(["state", health.near.state], ["instances", count(health.near.sessions)]);
  return tile("In memory", `${bytes(near.bytes)}`, rows, el("p", { class: "hint" }, `of ${bytes(near.limit_bytes)}, in this process`));
}

function changes({ figures }) {
  return tile("Invalidations", count(figures.invalidations + figures.clears), [
    ["entries removed", count(figures.invalidated_entries)],
    ["whole clears", count(figures.clears)],
    ["fills refused", count(figures.fills_refused)],
    ["errors", count(figures.errors)],
    ["damaged", count(figures.corrupt)],
  ]);
}

export function showOverview(overview) {
  const [kind, word] = STATUS[overview.health.status] ?? ["warn", overview.health.status];
  const status = $("status");
  status.className = `status ${kind}`;
  say(status, `${word}: ${overview.health.active}`);
  const tiles = [backend(overview)];
  if (overview.figures) {
    tiles.unshift(ratio(overview), loads(overview), saved(overview), size(overview));
    tiles.push(changes(overview));
    if (overview.figures.near) tiles.push(memory(overview));
  }
  update($("tiles"), tiles);
}
