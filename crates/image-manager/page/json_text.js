// JSON as text: numbers keep the digits and members the order that they have, which JSON.parse would change.

/** Splits the text of a JSON object into its members: names, and texts of values. */
export function members(text) {
  const found = [];
  let depth = 0;
  let name;
  let begin;
  for (const token of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/g)) {
    const [sign] = token;
    if (sign === "{" || sign === "[") {
      depth += 1;
    } else if (depth === 1 && begin === undefined && sign.startsWith('"')) {
      name = JSON.parse(sign);
    } else if (depth === 1 && begin === undefined && sign === ":") {
      begin = token.index + 1;
    } else if (depth === 1 && begin !== undefined && (sign === "," || sign === "}")) {
      found.push([name, text.slice(begin, token.index).trim()]);
      begin = undefined;
    }
    if (sign === "}" || sign === "]") {
      depth -= 1;
    }
  }
  return found;
}

/** Joins members to the text of a JSON object. */
export function object(entries) {
  return `{${entries.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
}
