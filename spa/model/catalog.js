// What is known of the images, and what is not: a list that did not come says nothing about an image. Pure.

/**
 * @typedef {import("../types.js").Entry} Entry
 */

/**
 * Tell whether the catalog is known to lack an image. Where the list has not come, or came last with an error, nobody knows.
 * @param {{data?: Entry[], error?: Error}} images
 * @param {string} ref
 */
export function isMissing({ data, error }, ref) {
  return data !== undefined && !error && !data.some((entry) => entry.bty_image_ref === ref);
}

/**
 * Return the name of an image, or else its ref.
 * @param {Entry | undefined} entry
 * @param {string} ref
 */
export function imageName(entry, ref) {
  return entry?.name ?? `the image ${ref.slice(0, 12)}…`;
}
