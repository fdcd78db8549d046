// The last lines of a log that grows, with their numbers. Pure.

/** @typedef {{first: number, upto: number, lines: string[]}} Tail */

const KEPT = 200; // as many as the daemon keeps

/**
 * Return *tail* with what the daemon answered: lines after it, or all there are in its place.
 * @param {Tail | undefined} tail
 * @param {{lines: string[], upto: number, whole: boolean}} answer
 * @returns {Tail}
 */
export function addLines(tail, { lines, upto, whole }) {
  const all = (whole || !tail ? lines : [...tail.lines, ...lines]).slice(-KEPT);
  return { first: upto - all.length + 1, upto, lines: all };
}
