// Pictures that are loaded when they come near the window. They are fetched, as an <img> could not name the viewer.

import { getThumbnail } from "./api.js";
import { shortBadge } from "./badge.js";
import { element } from "./dom.js";

/** Pixels of a side of the frame in style.css, and twice as many where the screen has them: two sizes in the cache. */
const SIDE = devicePixelRatio > 1 ? 480 : 240;

const loads = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        observer.unobserve(target);
        loads.get(target)?.();
      }
    }
  },
  { rootMargin: "400px" },
);

/** Creates the frame of an image's thumbnail, which is empty until it is near the window. */
export function lazyThumbnail(image) {
  const frame = element("span", { class: "thumbnail" });
  loads.set(frame, () => load(frame, image));
  observer.observe(frame);
  return frame;
}

async function load(frame, image) {
  try {
    const { blob, cache } = await getThumbnail(image.id, SIDE);
    frame.append(picture(blob, ""));
    frame.append(shortBadge(cache) ?? "");
  } catch (error) {
    frame.append(element("span", { class: "trouble" }, error.message));
  }
}

/** Creates the element that shows a picture. */
export function picture(blob, alt) {
  const url = URL.createObjectURL(blob);
  const free = () => URL.revokeObjectURL(url);
  return element("img", { src: url, alt, onload: free, onerror: free });
}
