// Numbers, sizes and times for people.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

export const count = (n) => whole.format(n);

export function bytes(n) {
  for (const [unit, size] of [["GB", 2 ** 30], ["MB", 2 ** 20], ["KB", 2 ** 10]]) {
    if (n >= size) return `${one.format(n / size)} ${unit}`;
  }
  return `${whole.format(n)} B`;
}

export function percent(ratio) {
  return ratio == null ? "–" : `${one.format(ratio * 100)} %`;
}

export function rate(n) {
  return n >= 10 || n === 0 ? whole.format(n) : one.format(n);
}

/** Milliseconds in the unit that fits. */
export function duration(ms) {
  if (ms == null) return "–";
  if (ms === 0) return "0 s";
  if (ms < 1) return `${whole.format(ms * 1000)} µs`;
  if (ms < 1000) return `${one.format(ms)} ms`;
  if (ms < 120_000) return `${one.format(ms / 1000)} s`;
  if (ms < 7_200_000) return `${one.format(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${one.format(ms / 3_600_000)} h`;
  return `${one.format(ms / 86_400_000)} days`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export const time = (ms) => clock.format(new Date(ms));

export const entries = (n) => (n === 1 ? "1 entry" : `${count(n)} entries`);
