// Badges that tell where an answer came from.

import { element } from "./dom.js";

const MEANINGS = {
  hit: "from the cache",
  miss: "loaded, as the cache did not have it",
  stale: "an older value from the cache, while a new one is loaded",
  bypass: "loaded without the cache",
};

/** Creates the badge of an answer; null for one that did not pass through the cache. */
export function badge(cache) {
  if (!cache) {
    return null;
  }
  const parts = [cache.source];
  if (cache.source !== "bypass") {
    parts.push(cache.backend);
    if (cache.milliseconds !== null) {
      parts.push(`${duration(cache.milliseconds)} ms`);
    }
  }
  return labelled(cache, parts.join(" · "));
}

/** Creates the short badge of a thumbnail, which is no part of the name of the link around it. */
export function shortBadge(cache) {
  const short = cache && labelled(cache, cache.source);
  short?.setAttribute("aria-hidden", "true");
  return short;
}

function labelled(cache, text) {
  const meaning = MEANINGS[cache.source] ?? "";
  return element("span", { class: `badge ${cache.source}`, title: `Cache ${cache.source}: ${meaning}` }, text);
}

function duration(milliseconds) {
  return milliseconds < 10 ? milliseconds.toFixed(2) : Math.round(milliseconds);
}
