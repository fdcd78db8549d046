// Numbers and times as people read them. Pure, but for the clock.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const COUNT = new Intl.NumberFormat();

/**
 * Return a number of bytes in binary units, three digits: `1.46 GiB`.
 * @param {number | null | undefined} size
 */
export function bytes(size) {
  if (size === null || size === undefined) return "unknown";
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toPrecision(3)} ${UNITS[unit]}`;
}

/**
 * Return the size of a disk as its label has it, in decimal units: `480 GB`.
 * @param {number | null | undefined} size
 */
export function diskSize(size) {
  if (!size) return "";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/** @param {number | null | undefined} perSecond bytes a second */
export function rate(perSecond) {
  return perSecond ? `${bytes(Math.round(perSecond))}/s` : "";
}

/**
 * Return a duration: `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d`.
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 && minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 && hours < 10 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

/**
 * Return how long ago *iso* was: `just now`, `5 min ago`.
 * @param {string | null | undefined} iso
 * @param {number} [now] milliseconds
 */
export function ago(iso, now = Date.now()) {
  if (!iso) return "never";
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 10) return "just now";
  return `${duration(seconds < 600 ? seconds - (seconds % (seconds < 60 ? 10 : 60)) : seconds)} ago`;
}

/** @param {string | null | undefined} iso */
export function moment(iso) {
  return iso ? DATE.format(new Date(iso)) : "";
}

/** @param {number} number */
export function count(number) {
  return COUNT.format(number);
}

/**
 * Return a fragment as a line of its own: its first letter is a capital.
 * @param {string} words
 */
export function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/**
 * Return `1 machine` or `3 machines`.
 * @param {number} number
 * @param {string} noun
 * @param {string} [many]
 */
export function plural(number, noun, many = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : many}`;
}
