// One key of the configuration: its value, where that is from, and a way to change it.

import { send } from "../lib/api.js";
import { h } from "../lib/vdom.js";
import { badge } from "./common.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../api.js").Key} Key
 * @typedef {import("../api.js").ConfigRow} Config
 */

export class ConfigKey {
  /**
   * @param {App} app
   * @param {(config: Config) => void} onSaved
   */
  constructor(app, onSaved) {
    this.app = app;
    this.onSaved = onSaved;
    this.isOpen = false;
    this.problem = "";
  }

  /**
   * @param {Key} key
   * @param {unknown} value null takes the key out of the file
   */
  async save(key, value) {
    this.problem = "";
    try {
      const config = await send("PUT", `/config/${encodeURIComponent(key.key)}`, { value });
      this.isOpen = false;
      this.app.notify(`${key.key} was saved.${key.needs_restart ? " It counts from the next start of the daemon." : ""}`, key.needs_restart ? "info" : "good");
      this.onSaved(config);
    } catch (error) {
      this.problem = /** @type {Error} */ (error).message;
    }
    this.app.redraw();
  }

  /**
   * @param {Key} key
   * @param {boolean} hasFile
   */
  view(key, hasFile) {
    const [kind, words] = originOf(key.origin);
    return h(
      "div",
      { class: "config-row", key: key.key },
      h("div", { class: "config-name" }, h("code", null, key.key.split(".").slice(1).join(".")), key.needs_restart && h("span", { class: "second" }, "counts from the next start")),
      this.isOpen ? this.viewForm(key) : h("div", { class: "config-value" }, shown(key), " ", badge(kind, words), key.why_fixed && hasFile && h("span", { class: "second" }, key.key.startsWith("admin.") ? h("a", { href: "/ui/account" }, "changed on the account page") : key.why_fixed)),
      !this.isOpen && h("button", { type: "button", class: "small", disabled: Boolean(key.why_fixed), "aria-label": `Change ${key.key}`, onclick: () => this.toggle(true) }, "Change"),
    );
  }

  /** @param {boolean} isOpen */
  toggle(isOpen) {
    this.isOpen = isOpen;
    this.problem = "";
    this.app.redraw();
  }

  /** @param {Key} key */
  viewForm(key) {
    const id = `config-${key.key}`;
    const attributes = {
      id,
      name: "value",
      "aria-label": `New value of ${key.key}`,
      "aria-invalid": this.problem ? "true" : null,
      "aria-describedby": this.problem ? `${id}-problem` : null,
      ref: (/** @type {HTMLElement} */ node) => setTimeout(() => node.focus()),
    };
    const isList = key.type === "list";
    return h(
      "form",
      {
        class: "config-form",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          const typed = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get("value") ?? "");
          this.save(key, parse(typed, key, isList));
        },
      },
      key.type === "boolean"
        ? h("select", { ...attributes, value: String(key.value) }, h("option", { value: "true" }, "true"), h("option", { value: "false" }, "false"))
        : h("input", { ...attributes, type: key.is_secret ? "password" : key.type === "integer" ? "number" : "text", autocomplete: "off", spellcheck: "false", value: key.is_secret ? "" : isList ? (key.value ?? []).join(", ") : (key.value ?? "") }),
      h("button", { type: "submit", class: "small primary" }, "Save"),
      h("button", { type: "button", class: "small", onclick: () => this.save(key, null) }, "Back to the default"),
      h("button", { type: "button", class: "small quiet", onclick: () => this.toggle(false) }, "Cancel"),
      this.problem && h("p", { class: "problem", id: `${id}-problem`, role: "alert" }, this.problem),
    );
  }
}

/**
 * @param {string} typed
 * @param {Key} key
 * @param {boolean} isList
 */
function parse(typed, key, isList) {
  if (isList) return typed.split(",").map((word) => word.trim()).filter(Boolean);
  if (key.type === "boolean") return typed === "true";
  return key.type === "integer" && /^-?\d+$/.test(typed) ? Number(typed) : typed;
}

/** @param {Key} key */
function shown(key) {
  if (key.is_secret) return h("span", { class: "muted" }, key.is_set ? "set, not shown" : "not set");
  const text = Array.isArray(key.value) ? key.value.join(", ") : String(key.value ?? "");
  return text ? h("code", { class: "source" }, text) : h("span", { class: "muted" }, "empty");
}

/**
 * @param {string} origin
 * @returns {[string, string]}
 */
function originOf(origin) {
  if (origin.startsWith("env")) return ["wait", origin.replace(/^env\((.*)\)$/, "environment: $1")];
  if (origin.startsWith("toml")) return ["good", origin.replace(/^toml\((.*)\)$/, "file: $1")];
  return ["none", origin];
}
