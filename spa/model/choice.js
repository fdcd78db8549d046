// What is chosen on a page, as the fragment of its address: `#sel=a,b`. So it survives a reload and can be sent to somebody. Pure.

/**
 * Return the words that a fragment names, without those that *pattern* does not know.
 * @param {string} hash
 * @param {RegExp} pattern
 */
export function readChoice(hash, pattern) {
  const words = /^#sel=(.*)$/.exec(hash)?.[1].split(",") ?? [];
  return words.filter((word) => pattern.test(word));
}

/**
 * Return the fragment of an address, empty where nothing is chosen.
 * @param {Iterable<string | number>} words
 */
export function writeChoice(words) {
  const text = [...words].join(",");
  return text ? `#sel=${text}` : "";
}

/**
 * Return *items* from the one that was clicked last to the one that is clicked now; only the latter where there is no last one.
 * @template T
 * @param {T[]} items
 * @param {number} last -1 where there is none
 * @param {number} index
 */
export function rangeOf(items, last, index) {
  const from = last >= 0 ? last : index;
  return items.slice(Math.min(from, index), Math.max(from, index) + 1);
}
