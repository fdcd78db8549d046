// What the operator adjusts: where things come from, when backups are made, and each key of the configuration.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { badge, card, failure, field, heading, note } from "../parts/common.js";
import { ConfigKey } from "../parts/config-key.js";
import { Webhooks } from "../parts/webhooks.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../api.js").SettingsRow} Settings
 * @typedef {import("../api.js").ConfigRow} Config
 * @typedef {import("../lib/api.js").ApiError} Failure
 */

const CADENCES = [["daily", "Every day"], ["weekly", "Every week"], ["manual", "Only by hand"]];

/**
 * @param {App} app
 * @returns {Page}
 */
export function settingsPage(app) {
  const page = new SettingsView(app);
  return { title: "Settings", view: () => page.view(), take: (name, data) => page.take(name, data), leave: () => page.webhooks.load.stop() };
}

class SettingsView {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Load<Settings>} */
    this.settings = new Load(() => get("/settings"), () => app.redraw());
    /** @type {Load<Config>} */
    this.config = new Load(() => get("/config"), () => app.redraw());
    /** @type {Map<string, ConfigKey>} */
    this.rows = new Map();
    /** @type {Record<string, Failure | null>} */
    this.failures = {};
    this.webhooks = new Webhooks(app);
    this.settings.run();
    this.config.run();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync" || (name === "event" && data.kind === "system.webhook.failed")) this.webhooks.load.soon();
    if (name === "resync" || (name === "event" && data.kind === "backup.imported")) this.settings.soon();
  }

  /**
   * @param {SubmitEvent} event
   * @param {"upstream" | "backup"} part
   */
  async save(event, part) {
    event.preventDefault();
    const typed = new FormData(/** @type {HTMLFormElement} */ (event.target));
    /** @param {string} name */
    const text = (name) => String(typed.get(name) ?? "").trim();
    const change =
      part === "upstream"
        ? { netboot_repo: text("netboot_repo"), netboot_tag: text("netboot_tag"), catalog_url: text("catalog_url") }
        : { enabled: typed.has("enabled"), cadence: text("cadence"), retention_count: Number(text("retention_count")) };
    this.failures[part] = null;
    try {
      this.settings.data = await send("PATCH", "/settings", { [part]: change });
      this.app.notify("Saved.");
    } catch (error) {
      this.failures[part] = /** @type {Failure} */ (error);
    }
    this.app.redraw();
  }

  view() {
    return [
      heading("Settings"),
      failure(this.settings),
      h("div", { class: "columns", key: "columns" }, h("div", { class: "column" }, this.viewUpstream()), h("div", { class: "column" }, this.viewBackup())),
      this.webhooks.view(),
      this.viewConfig(),
    ];
  }

  viewUpstream() {
    const found = this.settings.data?.upstream;
    const failed = this.failures.upstream;
    /** @type {(id: keyof import("../api.js").Upstream, label: string, help: string) => import("../lib/vdom.js").Child} */
    const input = (id, label, help) =>
      field({ id, label, help, problem: failed?.of(id) }, (attributes) => h("input", { ...attributes, type: "text", autocomplete: "off", spellcheck: "false", value: found?.[id] ?? "" }));
    return card(
      "Where things come from",
      {},
      !found && !this.settings.error && h("p", { class: "muted" }, "Loading…"),
      found &&
        h(
          "form",
          { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.save(event, "upstream") },
          input("catalog_url", "Catalog", "The address of a catalog.toml. Empty: the default."),
          input("netboot_repo", "Live environment: repository", "owner/name, or an address. Empty: the default."),
          input("netboot_tag", "Live environment: release", "A tag, or latest: the one of this version."),
          failed && note("bad", failed.message),
          h("div", { class: "form-actions" }, h("button", { type: "submit", class: "primary" }, "Save")),
        ),
    );
  }

  viewBackup() {
    const found = this.settings.data?.backup;
    const failed = this.failures.backup;
    return card(
      "Backups",
      { id: "backup-schedule", actions: h("a", { href: "/ui/backups" }, "All backups") },
      found &&
        h(
          "form",
          { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.save(event, "backup") },
          h("label", { class: "choice" }, h("input", { type: "checkbox", name: "enabled", value: "1", ref: (/** @type {HTMLInputElement} */ box) => (box.checked = found.enabled) }), "Make backups by schedule"),
          field({ id: "cadence", label: "How often", problem: failed?.of("cadence") }, (attributes) =>
            h("select", { ...attributes, value: found.cadence }, CADENCES.map(([name, words]) => h("option", { key: name, value: name }, words))),
          ),
          field({ id: "retention_count", label: "How many are kept", problem: failed?.of("retention_count") }, (attributes) =>
            h("input", { ...attributes, type: "number", min: 1, max: 1000, required: true, value: found.retention_count }),
          ),
          failed && note("bad", failed.message),
          h("div", { class: "form-actions" }, h("button", { type: "submit", class: "primary" }, "Save")),
        ),
    );
  }

  viewConfig() {
    const config = this.config.data;
    /** @type {Map<string, import("../api.js").Key[]>} */
    const sections = new Map();
    for (const key of config?.keys ?? []) {
      const [section] = key.key.split(".");
      sections.set(section, [...(sections.get(section) ?? []), key]);
    }
    return card(
      "Configuration",
      {},
      failure(this.config),
      config && h("p", { class: "muted" }, config.file ? ["Changes go into ", h("code", { class: "source" }, config.file), ", whose comments stay."] : "No file can be written, so nothing can be changed here."),
      config?.restart_needed && note("warn", "The files say more than the daemon does: restart it to have it take them over."),
      [...sections].map(([section, keys]) =>
        h(
          "section",
          { key: section, class: "config", "aria-label": section },
          h("h3", null, `[${section}]`),
          keys.map((key) => this.row(key).view(key, Boolean(config?.file))),
        ),
      ),
      config && h("p", { class: "help" }, badge("none", "default"), " nobody set it, ", badge("good", "file"), " a file says so, ", badge("wait", "environment"), " a variable of the environment says so and cannot be changed here."),
    );
  }

  /** @param {import("../api.js").Key} key */
  row(key) {
    let row = this.rows.get(key.key);
    if (!row) {
      row = new ConfigKey(this.app, (config) => {
        this.config.data = config;
        this.app.redraw();
      });
      this.rows.set(key.key, row);
    }
    return row;
  }
}
