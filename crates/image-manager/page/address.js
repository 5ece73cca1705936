// The address of the page: `#/PROJECT?page=2&field=filename&value=cat&show=deleted&image=ID`. What is shown follows from it.

const PARAMETERS = ["page", "field", "value", "show", "image"];

/** Returns the parts of the address; those that it lacks are undefined. */
export function address() {
  const [project, query] = location.hash.replace(/^#\/?/, "").split("?");
  const parameters = new URLSearchParams(query);
  const entries = PARAMETERS.map((name) => [name, parameters.get(name) ?? undefined]);
  return { project: project || undefined, ...Object.fromEntries(entries) };
}

/** Returns the address as text, with some parts changed. */
export function addressWith(changes) {
  const { project, ...parameters } = { ...address(), ...changes };
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  return `#/${project ?? ""}${query.size ? `?${query}` : ""}`;
}

/** Goes to the address with some parts changed. */
export function go(changes) {
  location.hash = addressWith(changes);
}

/** As `go`, but the browser's button back does not return to the address that was left. */
export function goInstead(changes) {
  location.replace(addressWith(changes));
}
