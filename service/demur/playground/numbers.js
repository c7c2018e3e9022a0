// How numbers are written, everywhere on the page.

/** A probability or share in [0, 1]. */
export const share = (value) => value.toFixed(2);

/** A probability that may be tiny: not nothing, though. */
export const chance = (value) => (value < 0.005 ? "< 0.01" : share(value));

export const percent = (value) => `${Math.round(100 * value)} %`;

/** A rate that may be small. */
export const rate = (value) => `${(100 * value).toFixed(1)} %`;

export const nats = (value) => `${value.toFixed(2)} nats`;

export function seconds(value) {
  if (value < 0.9995) return `${Math.round(1000 * value)} ms`;
  return value < 90 ? `${value.toFixed(value < 10 ? 2 : 1)} s` : `${Math.round(value / 60)} min`;
}

export const capital = (text) => text && text[0].toUpperCase() + text.slice(1);

/** "1 passage", "2 passages". */
export const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
