// Small pieces that several pages show.

import { h } from "../lib/vdom.js";
import { ago, moment } from "../model/format.js";
import { readProgress } from "../model/machine.js";

/**
 * @typedef {import("../lib/vdom.js").Child} Child
 * @typedef {import("../types.js").Progress} Progress
 * @typedef {import("../lib/load.js").Load<any>} AnyLoad
 */

/**
 * A titled part of a page.
 * @param {string} title
 * @param {{actions?: Child, class?: string, id?: string, level?: 2 | 3}} options
 * @param {...Child} children
 */
export function card(title, { actions, class: name = "", id, level = 2 }, ...children) {
  return h(
    "section",
    { class: `card ${name}`, id, "aria-label": title, key: `card ${id ?? title}` },
    h("header", { class: "card-head" }, h(`h${level}`, null, title), actions && h("div", { class: "actions" }, actions)),
    ...children,
  );
}

/**
 * The heading of a page.
 * @param {Child} title
 * @param {{lead?: Child, actions?: Child}} [options]
 */
export function heading(title, options) {
  const { lead, actions } = options ?? {};
  return h(
    "header",
    { class: "page-head", key: "head" },
    h("div", null, h("h1", { tabindex: "-1" }, title), lead && h("p", { class: "lead" }, lead)),
    actions && h("div", { class: "actions" }, actions),
  );
}

/**
 * What stands in the place of something that is not there (yet): why, and what to do.
 * @param {string} title
 * @param {...Child} children
 */
export function empty(title, ...children) {
  return h("div", { class: "empty", key: "empty" }, h("p", { class: "empty-title" }, title), ...children);
}

/**
 * A message that stays where it is.
 * @param {"bad" | "warn" | "info" | "good"} kind
 * @param {...Child} children
 */
export function note(kind, ...children) {
  const role = kind === "bad" ? "alert" : "status";
  return h("div", { class: `note ${kind}`, role, key: `note ${kind}` }, h("div", null, ...children));
}

/**
 * The failure of a load with a way to try again; nothing where there is none.
 * @param {AnyLoad} load
 */
export function failure(load) {
  if (!load.error) return null;
  return note("bad", h("p", null, load.error.message), h("p", null, h("button", { type: "button", class: "small", onclick: () => load.run() }, "Try again")));
}

/** @param {string | null | undefined} iso */
export function time(iso) {
  return iso ? h("time", { datetime: iso, title: moment(iso) }, ago(iso)) : h("span", { class: "muted" }, "never");
}

/**
 * A word with a colour; the colour says nothing that the word does not.
 * @param {string} kind
 * @param {string} text
 */
export function badge(kind, text) {
  return text ? h("span", { class: `badge ${kind}` }, text) : null;
}

/** @param {string[]} labels */
export function tags(labels) {
  return labels.length ? h("span", { class: "tags" }, labels.map((label) => h("span", { class: "tag", key: label }, label))) : null;
}

/**
 * A digest or a ref: its beginning, the whole on demand.
 * @param {string | null | undefined} hex
 */
export function digest(hex) {
  return hex ? h("code", { class: "digest", title: hex }, hex.slice(0, 12)) : h("span", { class: "muted" }, "none");
}

/**
 * A running flash: bar, stage, percent, rate and time left.
 * @param {Progress} progress
 * @param {{label: string, long?: boolean}} options
 */
export function flashBar(progress, { label, long = false }) {
  const now = readProgress(progress);
  const words = [now.stage, now.percent === null ? now.amount : `${now.percent} %`, long && now.percent !== null && now.amount];
  words.push(...(now.trouble ? [now.trouble] : [now.rate, now.left]));
  const known = now.percent === null ? {} : { "aria-valuenow": now.percent };
  return h(
    "div",
    { class: `flash ${now.percent === null ? "unknown" : ""}`, key: "flash" },
    h(
      "div",
      { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuetext": words.filter(Boolean).join(", "), ...known },
      h("div", { class: "bar-fill", style: { transform: `scaleX(${(now.percent ?? 100) / 100})` } }),
    ),
    h("p", { class: "flash-words" }, words.filter(Boolean).map((word, index) => h("span", { key: index, class: word === now.trouble ? "trouble" : undefined, title: word === now.trouble ? word : undefined }, word))),
  );
}

/**
 * A field of a form: label, control, help, and what is wrong with it.
 * @param {{id: string, label: Child, help?: Child, problem?: string}} options
 * @param {(attributes: Record<string, any>) => Child} control
 */
export function field({ id, label, help, problem }, control) {
  const described = [help && `${id}-help`, problem && `${id}-problem`].filter(Boolean).join(" ");
  return h(
    "div",
    { class: "field", key: id },
    h("label", { for: id }, label),
    control({ id, name: id, "aria-describedby": described || null, "aria-invalid": problem ? "true" : null }),
    help && h("p", { class: "help", id: `${id}-help` }, help),
    problem && h("p", { class: "problem", id: `${id}-problem`, role: "alert" }, problem),
  );
}

/**
 * The state of the pages of a list, with the ways to the others.
 * @param {{page: number, per_page: number, total: number}} at
 * @param {(page: number) => string} address
 */
export function pager({ page, per_page, total }, address) {
  const pages = Math.max(1, Math.ceil(total / per_page));
  const first = total ? (page - 1) * per_page + 1 : 0;
  /** @type {(to: number, words: string, mark: string) => Child} */
  const step = (to, words, mark) =>
    to >= 1 && to <= pages && to !== page
      ? h("a", { class: "button small", href: address(to), "aria-label": words, key: words }, mark)
      : h("span", { class: "button small disabled", "aria-hidden": "true", key: words }, mark);
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages of the list", key: "pager" },
    h("p", null, total ? `${first}–${Math.min(page * per_page, total)} of ${total}` : "none"),
    h("div", { class: "steps" }, step(1, "First page", "«"), step(page - 1, "Previous page", "‹"), step(page + 1, "Next page", "›"), step(pages, "Last page", "»")),
  );
}

/**
 * A heading of a column that sorts by it.
 * @param {{name: string, title: string, sort: string, dir: string, class?: string}} column
 * @param {(sort: string, dir: string) => string} address
 */
export function sortHead({ name, title, sort, dir, class: css }, address) {
  const isSorted = sort === name;
  const turn = isSorted && dir === "asc" ? "desc" : "asc";
  return h(
    "th",
    { scope: "col", class: css, key: name, "aria-sort": isSorted ? (dir === "asc" ? "ascending" : "descending") : null },
    h("a", { href: address(name, turn), class: "sort" }, title, h("span", { class: "sort-mark", "aria-hidden": "true" }, isSorted ? (dir === "asc" ? " ▲" : " ▼") : "")),
  );
}

/**
 * Pairs of a word and what it is.
 * @param {([string, Child] | null | undefined | false)[]} pairs
 */
export function facts(pairs) {
  const known = /** @type {[string, Child][]} */ (pairs.filter((pair) => pair && pair[1] !== null && pair[1] !== undefined && pair[1] !== false && pair[1] !== ""));
  return h("dl", { class: "facts" }, known.map(([word, value]) => h("div", { key: word }, h("dt", null, word), h("dd", null, value))));
}
