// The forms that fill the catalog: one image, or a whole catalog.

import { query, send } from "../lib/api.js";
import { h } from "../lib/vdom.js";
import { field, note } from "./common.js";
import { openDialog } from "./dialog.js";

/** @typedef {import("../main.js").App} App */

const FORMATS = ["img", "img.gz", "img.xz", "img.zst", "img.bz2", "qcow2"];

/**
 * Ask for an image and add it. Returns whether one was added.
 * @param {App} app
 */
export async function askForImage(app) {
  /** @type {import("../lib/api.js").ApiError | null} */
  let failure = null;
  let isBusy = false;
  const added = await openDialog("Add an image", ({ close, redraw }) => {
    /** @param {SubmitEvent} event */
    const submit = async (event) => {
      event.preventDefault();
      const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
      const body = Object.fromEntries([...form].map(([name, value]) => [name, String(value).trim()]).filter(([, value]) => value));
      isBusy = true;
      failure = null;
      redraw();
      try {
        close(await send("POST", "/catalog/entries", body));
      } catch (error) {
        failure = /** @type {import("../lib/api.js").ApiError} */ (error);
      }
      isBusy = false;
      redraw();
    };
    /** @param {string} name */
    const of = (name) => failure?.of(name);
    return h(
      "form",
      { onsubmit: submit },
      h(
        "div",
        { class: "dialog-body" },
        field({ id: "image_url", label: "Address", help: "http://, https:// or oras://registry/repository:tag", problem: of("image_url") }, (attributes) =>
          h("input", { ...attributes, type: "text", inputmode: "url", required: true, autofocus: true, autocomplete: "off", spellcheck: "false", maxlength: 4096 }),
        ),
        field({ id: "sha_url", label: "Address of its digests (optional)", help: "A file as sha256sum writes it. Each flash is then proved against the image's line in it.", problem: of("sha_url") }, (attributes) =>
          h("input", { ...attributes, type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false" }),
        ),
        h(
          "details",
          null,
          h("summary", null, "More"),
          field({ id: "name", label: "Name", help: "Empty: the last part of the address.", problem: of("name") }, (attributes) => h("input", { ...attributes, type: "text", autocomplete: "off" })),
          field({ id: "sha256", label: "SHA-256", help: "64 hex digits of the file as it is fetched.", problem: of("sha256") }, (attributes) => h("input", { ...attributes, type: "text", autocomplete: "off", spellcheck: "false" })),
          field({ id: "format", label: "Format", help: "Only where the name does not say it.", problem: of("format") }, (attributes) =>
            h("select", attributes, h("option", { value: "" }, "From the name"), FORMATS.map((format) => h("option", { key: format, value: format }, format))),
          ),
          field({ id: "description", label: "Description", problem: of("description") }, (attributes) => h("input", { ...attributes, type: "text", autocomplete: "off" })),
        ),
        failure && note("bad", failure.message),
        isBusy && h("p", { class: "muted", role: "status" }, "Asking the origin for size and digest…"),
      ),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary", disabled: isBusy }, "Add"),
      ),
    );
  });
  if (!added) return false;
  const unknown = added.size_bytes === null ? " Its origin did not answer, so its size is not known." : "";
  app.notify(`${added.name} was added.${unknown}`, unknown ? "info" : "good");
  return true;
}

const LATER = { Prefer: "respond-async" };

/**
 * Ask for a catalog and begin to import it. Returns the job that does, null where nobody wants one.
 * @returns {Promise<import("../api.js").JobRow | null>}
 */
export function askForCatalog() {
  /** @type {Error | null} */
  let failure = null;
  let isBusy = false;
  return openDialog("Import a catalog", ({ close, redraw }) => {
    /** @param {() => Promise<any>} ask */
    const run = async (ask) => {
      isBusy = true;
      failure = null;
      redraw();
      try {
        close(await ask());
      } catch (error) {
        failure = /** @type {Error} */ (error);
      }
      isBusy = false;
      redraw();
    };
    /** @param {SubmitEvent} event */
    const submit = (event) => {
      event.preventDefault();
      const typed = new FormData(/** @type {HTMLFormElement} */ (event.target));
      const file = /** @type {File} */ (typed.get("file"));
      const source = String(typed.get("source")).trim();
      if (file.size) run(() => send("POST", "/catalog/upload", file, { "Content-Type": "application/toml", ...LATER }));
      else if (source) run(() => send("POST", `/catalog/import${query({ source })}`, undefined, LATER));
      else run(() => Promise.reject(new Error("Type an address or choose a file.")));
    };
    return h(
      "form",
      { onsubmit: submit },
      h("div", { class: "dialog-body" },
        h("p", null, "Images that are in the catalog already stay as they are."),
        field({ id: "source", label: "Address of a catalog.toml", help: "http://, https:// or oras://." }, (attributes) =>
          h("input", { ...attributes, type: "text", inputmode: "url", autofocus: true, autocomplete: "off", spellcheck: "false" }),
        ),
        field({ id: "file", label: "Or a file" }, (attributes) => h("input", { ...attributes, type: "file", accept: ".toml,.tml" })),
        h("p", null, h("button", { type: "button", class: "small", disabled: isBusy, onclick: () => run(() => send("POST", "/catalog/fetch", undefined, LATER)) }, "Fetch the one that the settings name")),
        failure && note("bad", failure.message),
      ),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary", disabled: isBusy }, "Import"),
      ),
    );
  });
}
