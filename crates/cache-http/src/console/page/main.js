// Starts the page: figures at once, then a stream of figures and events.

import { $, say } from "./dom.js";
import { get, stream } from "./api.js";
import { showOverview } from "./overview.js";
import { addFamilies, beginFamilies } from "./families.js";
import { addPoint, beginTimeline } from "./timeline.js";
import { addInvalidation, addMissed, addRefused, beginLive, setUpLive } from "./live.js";
import { setUpKey } from "./key.js";
import { allowChanges, setUpClear } from "./clear.js";
import { setUpDoctor } from "./doctor.js";

function notice(text) {
  $("notice").hidden = text === "";
  say($("notice"), text);
}

async function begin() {
  const [overview, families, timeline] = await Promise.all([get("overview"), get("families"), get("timeline")]);
  allowChanges(overview.may_change);
  showOverview(overview);
  beginFamilies(families);
  beginTimeline(timeline);
}

function listen() {
  const source = stream();
  const on = (name, use) => source.addEventListener(name, (event) => use(JSON.parse(event.data)));
  source.addEventListener("open", () => notice(""));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      notice("The live figures were refused: you may have been logged out, or enough pages are open. Reload this page to try again.");
    } else {
      notice("The server does not answer: these figures are old. This page tries again by itself.");
    }
  });
  on("hello", beginLive);
  on("sample", ({ overview, families, point }) => {
    showOverview(overview);
    addFamilies(families);
    addPoint(point);
  });
  on("invalidated", addInvalidation);
  on("refused", addRefused);
  on("missed", addMissed);
  on("closing", () => notice("The server is stopping."));
}

setUpLive();
setUpKey();
setUpClear();
setUpDoctor();
try {
  await begin();
  listen();
} catch (error) {
  say($("status"), "Not loaded");
  notice(`${error.message}: ${error.advice}.`);
}
