// Sends a file with news of its progress, which fetch does not give.

import { errorOf, unreachable } from "./api.js";
import { viewerHeaders } from "./viewer.js";

/** Sends a file as the field `file` of a form. `progress` is called with the share that was sent. Returns the image. */
export function sendFile(method, path, file, progress) {
  const form = new FormData();
  form.append("file", file);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / total));
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("load", () => {
      if (request.status >= 200 && request.status < 300) {
        resolve(JSON.parse(request.responseText));
      } else {
        reject(errorOf(request.status, request.responseText));
      }
    });
    request.open(method, path);
    for (const [name, value] of Object.entries(viewerHeaders())) {
      request.setRequestHeader(name, value);
    }
    request.send(form);
  });
}
