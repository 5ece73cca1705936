// Requests to the console's own API.

/** An answer that is not 2xx, or none. */
export class Failure extends Error {
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

async function answer(request) {
  let response;
  try {
    response = await request;
  } catch {
    throw new Failure("the server does not answer", "look whether it runs, and try again");
  }
  let body = null;
  try {
    body = await response.json();
  } catch {
    // A guard before the console may answer something else.
  }
  if (!response.ok || body == null) {
    const advice = response.status === 401 || response.status === 403 ? "log in again, then reload this page" : "reload this page";
    throw new Failure(body?.message ?? `the server answers ${response.status}`, body?.advice ?? advice);
  }
  return body;
}

export const get = (path) => answer(fetch(`api/v1/${path}`, { cache: "no-store" }));

export const post = (path, body) => answer(fetch(`api/v1/${path}`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
}));

/** Opens the stream of figures and events; the browser connects again by itself. */
export const stream = () => new EventSource("api/v1/live");
