// The state of the cache, asked for every few seconds while the page is visible: a line at the top, and a banner in trouble.

import { get } from "./api.js";
import { byId, element } from "./dom.js";

const EVERY_MS = 4000;

let timer;

/** Begins to ask. `returned` is called when the server answers again. */
export function startHealth(returned) {
  let wasAway = false;
  const ask = async () => {
    clearTimeout(timer);
    if (document.hidden) {
      return;
    }
    try {
      const { data } = await get("/healthz");
      show(data);
      if (wasAway) {
        returned();
      }
      wasAway = false;
    } catch (error) {
      wasAway ||= error.status === 0;
      byId("cache-state").textContent = "";
      tell(`No news of the server: ${error.message}. The page asks again every few seconds.`, "bad");
    }
    timer = setTimeout(ask, EVERY_MS);
  };
  document.addEventListener("visibilitychange", ask);
  ask();
}

function show({ status, active, wanted, breaker, cause, since }) {
  byId("cache-state").textContent = status === "off" ? "Cache: off" : `Cache: ${active}`;
  if (status !== "degraded") {
    tell("");
    return;
  }
  const moment = since ? ` since ${new Date(since).toLocaleTimeString()}` : "";
  const reason = cause ? ` (${cause})` : "";
  if (wanted === "redis" && active !== "redis") {
    const meanwhile = active === "fallback" ? "a cache on disk serves meanwhile" : "nothing is cached meanwhile";
    tell(`Redis is away${moment}: ${meanwhile}, and Redis is used again by itself.${reason}`);
  } else if (wanted === "redis" && breaker && breaker !== "closed") {
    tell(`A part of Redis is away${moment}: its answers come from disk, and it is used again by itself.${reason}`);
  } else {
    tell(`The cache works with limits${moment}; every request is still answered.${reason}`);
  }
}

/** Shows a text in the banner; an empty one hides it. A screen reader hears it once. */
function tell(text, kind = "warning") {
  const banner = byId("banner");
  if (banner.textContent !== text) {
    banner.replaceChildren(...(text ? [element("p", { class: `banner ${kind}` }, text)] : []));
  }
}
