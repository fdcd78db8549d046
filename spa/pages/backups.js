// Backups of the machines: made by hand or by schedule, kept on the daemon's disk, taken in again.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { bytes, plural } from "../model/format.js";
import { askToArm, describeBinding } from "../parts/arm.js";
import { badge, card, empty, facts, failure, field, heading, note, time } from "../parts/common.js";
import { confirm } from "../parts/dialog.js";
import { eventList } from "../parts/events.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../api.js").JobRow} Job
 * @typedef {import("../api.js").StoredList} Stored
 * @typedef {import("../api.js").Outcome} Outcome
 * @typedef {import("../api.js").Held} Held
 */

const KINDS = /** @type {Record<string, string>} */ ({ completed: "good", failed: "bad", running: "busy", queued: "wait", cancelled: "none" });
const CADENCES = /** @type {Record<string, string>} */ ({ daily: "every day", weekly: "every week", manual: "only by hand" });

const HOLDS = "A backup holds the machines (hardware, modes, images, disks, labels), the catalog and the settings. Image bytes, boot files, events, passwords and tokens are not part of it.";

/** @param {Job} job */
const isOpen = (job) => job.status === "running" || job.status === "queued";

/**
 * What a stored backup holds, in words.
 * @param {Stored["items"][number]} backup
 */
function holds({ machines, images, settings }) {
  if (machines === null) return "made by an earlier version: machines only";
  return [plural(machines, "machine"), plural(images ?? 0, "image"), plural(settings ?? 0, "setting")].join(", ");
}

/**
 * @param {App} app
 * @returns {Page}
 */
export function backupsPage(app) {
  const page = new Backups(app);
  return { title: "Backups", view: () => page.view(), take: (name, data) => page.take(name, data), leave: () => page.leave() };
}

class Backups {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    const changed = () => app.redraw();
    /** @type {Load<Stored>} */
    this.stored = new Load(() => get("/backups"), changed);
    /** @type {Load<Job[]>} */
    this.jobs = new Load(async () => (await get("/jobs")).items.filter((/** @type {Job} */ job) => job.kind === "backup"), changed);
    /** @type {Load<import("../api.js").SettingsRow>} */
    this.settings = new Load(() => get("/settings"), changed);
    /** @type {Load<any[]>} */
    this.events = new Load(async () => (await get("/events?subject_kind=backup&limit=10")).events, changed);
    this.loads = [this.stored, this.jobs, this.settings, this.events];
    this.problem = "";
    /** @type {Outcome | null} */
    this.outcome = null;
    for (const load of this.loads) load.run();
  }

  leave() {
    for (const load of this.loads) load.stop();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync") for (const load of this.loads) load.soon();
    else if (name === "job" && data.kind === "backup") {
      const others = (this.jobs.data ?? []).filter(({ id }) => id !== data.id);
      this.jobs.data = [data, ...others];
      if (data.status === "completed") this.stored.soon();
    } else if (name === "event" && data.subject_kind === "backup") for (const load of [this.stored, this.events, this.settings]) load.soon();
  }

  /** @param {() => Promise<unknown>} act */
  async do(act) {
    try {
      await act();
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.jobs.soon();
    this.stored.soon();
  }

  /** @param {{backup_id: string, bytes_on_disk: number}} backup */
  async remove({ backup_id: id, bytes_on_disk: size }) {
    const text = h("p", null, `${bytes(size)} on the daemon's disk go for good. Download it first where it may be needed.`);
    if (await confirm({ title: `Delete the backup ${id}?`, text, yes: "Delete the backup" })) await this.do(() => send("DELETE", `/backups/${encodeURIComponent(id)}`));
  }

  /** @param {SubmitEvent} event */
  async restore(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    this.problem = "";
    const agreed = await confirm({
      title: "Take this backup in?",
      yes: "Take it in",
      dangerous: false,
      text: [
        h("p", null, "Each machine of the backup takes the place of the one with its MAC. Images that are not in the catalog come back, and so do settings."),
        h("p", null, "No disk is written: machines that were to be flashed wait in the mode Inventory, bound as they were, until you say so."),
      ],
    });
    if (!agreed) return;
    try {
      const file = /** @type {File} */ (new FormData(form).get("bundle"));
      this.outcome = await send("POST", "/backups/import", file, { "Content-Type": "application/json" });
      this.app.images.soon();
      form.reset();
    } catch (error) {
      this.problem = /** @type {Error} */ (error).message;
    }
    this.app.redraw();
  }

  /** @param {Held[]} held */
  async arm(held) {
    if ((await askToArm(this.app, held)) && this.outcome) this.outcome = { ...this.outcome, held: [] };
    this.app.redraw();
  }

  view() {
    const jobs = this.jobs.data ?? [];
    const lastGood = jobs.reduce((newest, job) => (job.status === "completed" && job.created_at > newest ? job.created_at : newest), "");
    const active = jobs.filter(({ status, created_at }) => status !== "completed" && created_at > lastGood);
    return [
      heading("Backups", { actions: h("button", { type: "button", class: "primary", onclick: () => this.do(() => send("POST", "/workers/backups", { trigger: "manual" })) }, "Back up now") }),
      failure(this.stored),
      failure(this.jobs),
      this.outcome && this.viewOutcome(this.outcome),
      active.length > 0 && card(active.some(isOpen) ? "Under way" : "Not made", {}, h("ul", { class: "lines" }, active.map((job) => this.viewJob(job)))),
      h("div", { class: "columns", key: "columns" }, h("div", { class: "column" }, this.viewStored()), h("div", { class: "column" }, this.viewSchedule(), this.viewRestore())),
      card("Events", { actions: h("a", { href: "/ui/events?subject_kind=backup" }, "All of them") }, eventList(this.events, "Nothing has happened yet.")),
    ];
  }

  /** @param {Job} job */
  viewJob(job) {
    return h(
      "li",
      { key: job.id },
      h("span", null, h("strong", null, job.key), " ", badge(KINDS[job.status] ?? "none", job.status), job.bytes_done > 0 && h("span", { class: "second" }, bytes(job.bytes_done)), job.error && h("span", { class: "second bad-text" }, job.error)),
      isOpen(job) && h("button", { type: "button", class: "small danger", onclick: () => this.do(() => send("DELETE", `/jobs/${job.id}`)) }, "Cancel"),
    );
  }

  viewStored() {
    const items = this.stored.data?.items ?? [];
    return card(
      "On the disk",
      {},
      !this.stored.data && !this.stored.error && h("p", { class: "muted" }, "Loading…"),
      this.stored.data && items.length === 0 && empty("There is no backup yet.", h("p", null, HOLDS)),
      h(
        "ul",
        { class: "lines" },
        items.map((backup) =>
          h(
            "li",
            { key: backup.backup_id },
            h("span", null, h("strong", null, backup.backup_id), h("span", { class: "second" }, holds(backup)), h("span", { class: "second" }, bytes(backup.bytes_on_disk), ", ", time(backup.created_at))),
            h(
              "span",
              { class: "actions" },
              h("a", { class: "button small", href: `/ui/backups/${backup.backup_id}/download`, download: true, "aria-label": `Download ${backup.backup_id}` }, "Download"),
              h("button", { type: "button", class: "small danger", "aria-label": `Delete ${backup.backup_id}`, onclick: () => this.remove(backup) }, "Delete"),
            ),
          ),
        ),
      ),
    );
  }

  /** @param {Outcome} outcome */
  viewOutcome(outcome) {
    const { held } = outcome;
    return card(
      "Taken in",
      { actions: h("button", { type: "button", class: "small", onclick: () => { this.outcome = null; this.app.redraw(); } }, "Close") },
      facts([
        ["Machines", String(outcome.machines)],
        ["Images", outcome.images_kept ? `${outcome.images}, and ${outcome.images_kept} that were there already` : String(outcome.images)],
        ["Settings", outcome.settings.length ? outcome.settings.join(", ") : "none changed"],
      ]),
      outcome.configuration.length > 0 && h("div", { key: "configuration", class: "stack" },
        note("info", "The configuration was another one where the backup was made. It stays as it is here; the page Settings changes it."),
        h("ul", { class: "losses", "aria-label": "Configuration that differs" }, outcome.configuration.map((one) => h("li", { key: one.key }, h("code", null, `${one.key} = ${JSON.stringify(one.value)}`), h("span", { class: "second" }, `here ${JSON.stringify(one.here)}`)))),
      ),
      held.length > 0 && h("div", { key: "held", class: "stack" },
        note("info", `${plural(held.length, "machine")} that would be flashed ${held.length === 1 ? "waits" : "wait"} in the mode Inventory. Nothing is written until you arm ${held.length === 1 ? "it" : "them"}.`),
        h("ul", { class: "losses", tabindex: "0", "aria-label": "Machines that wait" }, held.map((one) => h("li", { key: one.mac }, h("a", { href: `/ui/machines/${one.mac}` }, h("code", null, one.mac)), h("span", { class: "second" }, describeBinding(this.app, one.boot_mode, one))))),
        h("div", { class: "form-actions" }, h("button", { type: "button", class: "danger", onclick: () => this.arm(held) }, `Arm ${plural(held.length, "machine")}…`)),
      ),
    );
  }

  viewSchedule() {
    const backup = this.settings.data?.backup;
    return card(
      "Schedule",
      { actions: h("a", { href: "/ui/settings#backup-schedule" }, "Change") },
      failure(this.settings),
      backup &&
        facts([
          ["By schedule", backup.enabled ? (CADENCES[backup.cadence] ?? backup.cadence) : "off"],
          ["Kept", plural(backup.retention_count, "backup")],
          ["Last one", time(backup.last_run_at)],
          ["Where", h("code", { class: "source" }, this.stored.data?.backups_root ?? "")],
        ]),
    );
  }

  viewRestore() {
    return card(
      "Take a backup in",
      {},
      h(
        "form",
        { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.restore(event) },
        h("p", null, HOLDS),
        field({ id: "bundle", label: "File", help: "A backup of this program or of its predecessor (inventory.json).", problem: this.problem }, (attributes) => h("input", { ...attributes, type: "file", accept: ".json,application/json", required: true })),
        h("div", { class: "form-actions" }, h("button", { type: "submit" }, "Take it in…")),
      ),
    );
  }
}
