// Pictures of numbers: bars to compare, dots over time. Each says in words what it shows.

import { h } from "../lib/vdom.js";
import { count, moment } from "../model/format.js";

const WIDTH = 400;
const HEIGHT = 170;
const [LEFT, RIGHT, TOP, BOTTOM] = [88, 8, 10, 24];
const BARS_MAX = 8;
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/**
 * Bars with their numbers, the longest first; what is too many is summed up.
 * @param {{key: string, title: string, value: number, href?: string}[]} items
 */
export function bars(items) {
  const rest = items.slice(BARS_MAX).reduce((sum, { value }) => sum + value, 0);
  const shown = rest ? [...items.slice(0, BARS_MAX), { key: "rest", title: "others", value: rest }] : items;
  const most = Math.max(1, ...shown.map(({ value }) => value));
  return h(
    "ul",
    { class: "bars" },
    shown.map(({ key, title, value, href }) =>
      h(
        "li",
        { key },
        h("span", { class: "bar-title" }, href ? h("a", { href }, title) : title),
        h("span", { class: "bar-value" }, count(value)),
        h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "bar-fill", style: { "inline-size": `${(value * 100) / most}%` } })),
      ),
    ),
  );
}

/**
 * Dots over time, with the middle one as a line.
 * @param {string} name
 * @param {{at: number, value: number, title: string}[]} points
 * @param {(value: number) => string} words how a value is told
 */
export function dots(name, points, words) {
  const values = points.map(({ value }) => value).sort((a, b) => a - b);
  const middle = values[Math.floor(values.length / 2)];
  const top = ceiling(values[values.length - 1]);
  const times = points.map(({ at }) => at);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const span = Math.max(1, last - first);
  /** @param {number} at */
  const x = (at) => LEFT + ((WIDTH - LEFT - RIGHT - 10) * (at - first)) / span + 5;
  /** @param {number} value */
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const label = span < 86_400_000 ? CLOCK : DAY;
  return h(
    "svg",
    { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${name}: ${points.length} flashes, the middle one ${words(middle)}, from ${words(values[0])} to ${words(values[values.length - 1])}` },
    [0, top / 2, top].map((value) => [
      h("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), key: `line ${value}` }),
      h("text", { class: "axis", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end", key: `words ${value}` }, value ? words(value) : "0"),
    ]),
    h("line", { class: "middle", x1: LEFT, x2: WIDTH - RIGHT, y1: y(middle), y2: y(middle) }),
    points.map(({ at, value, title }) => h("circle", { key: `${title} ${at}`, class: "dot", cx: x(at), cy: y(value), r: 4 }, h("title", null, `${title}: ${words(value)}, ${moment(new Date(at).toISOString())}`))),
    h("text", { class: "axis", x: LEFT, y: HEIGHT - 4, key: "first" }, label.format(first)),
    h("text", { class: "axis", x: WIDTH - RIGHT, y: HEIGHT - 4, "text-anchor": "end", key: "last" }, label.format(last)),
  );
}

/**
 * Return a round number that is not below *value*.
 * @param {number} value
 */
export function ceiling(value) {
  const step = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 3, 5, 10].map((factor) => factor * step).find((round) => round >= value) ?? value;
}
