// A catalog that is being imported, or was: how far it is, and what became of each image.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { count, plural } from "../model/format.js";
import { badge, card, note } from "./common.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../api.js").JobRow} Job
 * @typedef {{imported: number, skipped: number, errors: {name: string, error: string}[], imported_names: string[], skipped_names: {name: string, reason: string}[]}} Result
 */

const STATES = /** @type {Record<string, [string, string]>} */ ({
  completed: ["good", "done"],
  failed: ["bad", "failed"],
  running: ["busy", "under way"],
  queued: ["wait", "waits its turn"],
  cancelled: ["none", "cancelled"],
});

export class Imports {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Job | null} */
    this.job = null;
    // What was under way when the page was opened.
    /** @type {Load<Job[]>} */
    this.load = new Load(async () => (await get("/jobs")).items.filter((/** @type {Job} */ job) => job.kind === "catalog"), () => this.found());
    this.load.run();
  }

  found() {
    const jobs = this.load.data ?? [];
    this.job = jobs.find(({ id }) => id === this.job?.id) ?? this.job ?? jobs.filter(isOpen).at(-1) ?? null;
    this.app.redraw();
  }

  /** @param {Job | null} job */
  show(job) {
    if (job) this.job = job;
    this.load.soon(); // it may be over already
    this.app.redraw();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync") this.load.soon();
    if (name !== "job" || data.kind !== "catalog") return;
    if (data.id === this.job?.id || (isOpen(data) && !(this.job && isOpen(this.job)))) this.job = data;
    this.app.redraw();
  }

  /** @param {Job} job */
  async cancel(job) {
    try {
      this.job = await send("DELETE", `/jobs/${job.id}`);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.app.redraw();
  }

  view() {
    const { job } = this;
    if (!job) return null;
    const [kind, word] = STATES[job.status] ?? ["none", job.status];
    const { result, done, total } = /** @type {{result: Result | null, done: number, total: number | null}} */ (job.details);
    const close = () => {
      this.job = null;
      this.app.redraw();
    };
    return card(
      "Import",
      {
        actions: isOpen(job)
          ? h("button", { type: "button", class: "small danger", key: "cancel", onclick: () => this.cancel(job) }, "Cancel")
          : h("button", { type: "button", class: "small", key: "close", onclick: close }, "Close"),
      },
      h("p", null, badge(kind, word), " ", h("span", { class: "source" }, job.key === "upload" ? "the catalog that was uploaded" : job.key)),
      isOpen(job) && viewProgress(done, total),
      job.status === "cancelled" && h("p", null, "Nothing was imported."),
      job.error && note("bad", job.error),
      result && viewResult(result),
    );
  }
}

/** @param {Job} job */
const isOpen = (job) => job.status === "running" || job.status === "queued";

/**
 * @param {number} done
 * @param {number | null} total
 */
function viewProgress(done, total) {
  if (total === null) return h("p", { class: "muted", role: "status" }, "Fetching the catalog…");
  const words = `${count(done)} of ${plural(total, "image")} looked at`;
  return h(
    "div",
    { class: "flash", key: "progress" },
    h("div", { class: "bar", role: "progressbar", "aria-label": "Import", "aria-valuemin": "0", "aria-valuemax": String(total), "aria-valuenow": String(done), "aria-valuetext": words }, h("div", { class: "bar-fill", style: { "inline-size": `${total ? (done * 100) / total : 100}%` } })),
    h("p", { class: "flash-words" }, h("span", null, words)),
  );
}

/** @param {Result} result */
function viewResult(result) {
  const { imported_names: names, skipped_names: skipped, errors } = result;
  const kept = errors.filter(({ name }) => names.includes(name)); // of those that were skipped, the reason says it already
  return [
    h("p", { key: "sum", role: "status" }, `${plural(result.imported, "image")} imported, ${count(result.skipped)} skipped.`),
    viewList("imported", "Imported", names.map((name) => [name, kept.find((error) => error.name === name)?.error ?? ""])),
    viewList("skipped", "Skipped", skipped.map(({ name, reason }) => [name, reason])),
  ];
}

/**
 * @param {string} key
 * @param {string} title
 * @param {string[][]} lines
 */
function viewList(key, title, lines) {
  if (!lines.length) return null;
  return h(
    "details",
    { key },
    h("summary", null, `${title} (${count(lines.length)})`),
    h("ul", { class: "losses", tabindex: "0", "aria-label": title }, lines.map(([name, words], index) => h("li", { key: index }, h("strong", null, name), words && h("span", { class: "second" }, words)))),
  );
}
