// Requests to the server: their answers, where these came from, and their errors.

import { viewerHeaders } from "./viewer.js";

/** An answer that is no success, or none at all: then the status is 0. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Sends a request. `body` is a text in JSON. Returns the response of a success. */
export async function send(method, path, { body, signal } = {}) {
  const headers = viewerHeaders();
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (!response.ok) {
    throw errorOf(response.status, await response.text());
  }
  return response;
}

/** Gets JSON. Returns it as `data` and as `text`, with the state of the cache as `cache`. */
export async function get(path, options) {
  const response = await send("GET", path, options);
  const text = await response.text();
  return { data: JSON.parse(text), text, cache: cacheOf(response.headers) };
}

/** Sends a value as JSON. Returns the answer's value, or null where it has none. */
export async function change(method, path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const response = await send(method, path, { body });
  return response.status === 204 ? null : response.json();
}

/** Gets the JPEG or PNG of an image within `side` pixels, as a Blob. */
export async function getThumbnail(image, side, signal) {
  const response = await send("GET", `/api/images/${image}/thumbnail?width=${side}&height=${side}`, { signal });
  return { blob: await response.blob(), cache: cacheOf(response.headers) };
}

/** Returns the error of an answer that is no success. */
export function errorOf(status, text) {
  try {
    const { code, message } = JSON.parse(text).error;
    return new ApiError(status, code, message);
  } catch {
    return new ApiError(status, "unknown", `the answer was ${status}`);
  }
}

/** Returns the error of a request without an answer. */
export function unreachable() {
  return new ApiError(0, "unreachable", "the server does not answer");
}

/** Returns where an answer came from, by its headers; null if it did not pass through the cache. */
function cacheOf(headers) {
  const status = headers.get("Cache-Status");
  if (!status) {
    return null;
  }
  const timing = /cache;desc="(.*?)";dur=([\d.]+)/.exec(headers.get("Server-Timing") ?? "");
  return { source: sourceOf(status), backend: timing?.[1] ?? "none", milliseconds: timing ? Number(timing[2]) : null };
}

/** Returns the source that a field Cache-Status (RFC 9211) tells. */
function sourceOf(status) {
  if (/; hit\b/.test(status)) {
    return /detail=stale|ttl=-/.test(status) ? "stale" : "hit";
  }
  return /fwd=bypass/.test(status) ? "bypass" : "miss";
}
