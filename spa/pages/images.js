// The catalog: images to put on disks.

import { get, query, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { bytes, plural } from "../model/format.js";
import { askForImage, askForCatalog } from "../parts/add-image.js";
import { badge, card, digest, empty, failure, heading, pager, sortHead, time } from "../parts/common.js";
import { confirm } from "../parts/dialog.js";
import { eventList } from "../parts/events.js";
import { Imports } from "../parts/imports.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../types.js").Entry} Entry
 */

const SORTS = ["name", "sha256", "format", "arch", "size_bytes", "added_at"];
const FILTERS = [["", "All"], ["http", "HTTP"], ["oras", "OCI registry"], ["unverified", "Without a digest"]];
const PER_PAGE = 50;
const TYPING_MS = 250;

/**
 * @param {App} app
 * @returns {Page}
 */
export function imagesPage(app) {
  const page = new Images(app);
  return {
    title: "Images",
    view: () => page.view(),
    navigate: (found) => page.navigate(found),
    take: (name, data) => page.take(name, data),
    leave: () => page.leave(),
  };
}

class Images {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.shown = { q: "", filter: "", sort: "added_at", dir: "desc", page: 1 };
    this.address = "";
    /** @type {Load<import("../types.js").PageOf<Entry>>} */
    this.load = new Load(() => get(`/catalog/entries${query({ ...this.shown, per_page: PER_PAGE })}`), () => app.redraw());
    /** @type {Load<any[]>} */
    this.events = new Load(async () => (await get(`/events${query({ subject_kind: "catalog", limit: 10 })}`)).events, () => app.redraw());
    /** @type {Map<string, import("../api.js").Found | null | Error>} */
    this.checks = new Map();
    this.imports = new Imports(app);
    this.events.run();
  }

  leave() {
    for (const load of [this.load, this.events, this.imports.load]) load.stop();
  }

  /** @param {URLSearchParams} found */
  navigate(found) {
    const sort = found.get("sort") ?? "";
    this.shown = {
      q: found.get("q") ?? "",
      filter: found.get("filter") ?? "",
      sort: SORTS.includes(sort) ? sort : "added_at",
      dir: found.get("dir") ?? (SORTS.includes(sort) ? "asc" : "desc"),
      page: Math.max(1, Math.floor(Number(found.get("page")) || 1)),
    };
    const address = query(this.shown);
    if (address !== this.address) this.load.run();
    this.address = address;
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "catalog" || name === "resync") this.load.soon();
    this.imports.take(name, data);
    if (name === "resync" || (name === "event" && data.subject_kind === "catalog")) {
      this.events.soon();
    }
  }

  refresh() {
    this.load.run();
    this.app.images.run();
    this.events.soon();
  }

  /** @param {Record<string, string | number | null>} change */
  at(change) {
    return `/ui/images${query({ ...Object.fromEntries(new URLSearchParams(location.search)), ...change })}`;
  }

  view() {
    const { load } = this;
    const items = load.data?.items ?? [];
    return [
      heading("Images", {
        lead: load.data ? `${plural(load.data.total, "image")} in the catalog` : "Loading…",
        actions: [
          h("button", { type: "button", key: "add", class: "primary", onclick: async () => (await askForImage(this.app)) && this.refresh() }, "Add an image"),
          h("button", { type: "button", key: "import", onclick: async () => this.imports.show(await askForCatalog()) }, "Import a catalog"),
        ],
      }),
      this.imports.view(),
      this.viewFilters(),
      failure(load),
      items.length > 0 && this.viewTable(items),
      load.data && items.length === 0 && this.viewEmpty(),
      load.data && load.data.total > PER_PAGE && h("div", { class: "table-foot", key: "foot" }, pager(load.data, (page) => this.at({ page }))),
      card("Events", { actions: h("a", { href: "/ui/events?subject_kind=catalog" }, "All of them") }, eventList(this.events, "Nothing has happened to the catalog yet.")),
    ];
  }

  viewFilters() {
    return h(
      "div",
      { class: "filters", key: "filters" },
      h(
        "form",
        { role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        h("label", { for: "search", class: "unseen" }, "Search images"),
        h("input", { id: "search", type: "search", placeholder: "Name, address, digest, format", value: this.shown.q, oninput: (/** @type {any} */ event) => this.search(event.target.value) }),
      ),
      h("nav", { class: "chips", "aria-label": "Filter" },
        FILTERS.map(([name, title]) => h("a", { key: name, class: "chip", href: this.at({ filter: name || null, page: null }), "aria-current": this.shown.filter === name ? "true" : null }, title)),
      ),
    );
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.app.setQuery({ q: text, page: null }, { replace: true }), TYPING_MS);
  }

  /** @param {Entry[]} items */
  viewTable(items) {
    const { sort, dir } = this.shown;
    /** @type {(name: string, title: string, css?: string) => import("../lib/vdom.js").Child} */
    const head = (name, title, css) => sortHead({ name, title, sort, dir, class: css }, (next, way) => this.at({ sort: next, dir: way, page: null }));
    return h(
      "div",
      { class: "table-wrap", key: "table", "aria-busy": String(this.load.loading) },
      h(
        "table",
        { class: "images" },
        h("caption", { class: "unseen" }, "Images"),
        h("thead", null, h("tr", null, head("name", "Image", "c-name"), head("format", "Format"), head("arch", "Arch"), head("size_bytes", "Size"), head("sha256", "Digest"), head("added_at", "Added"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "Action")))),
        h("tbody", null, items.map((entry) => this.viewRow(entry))),
      ),
    );
  }

  /** @param {Entry} entry */
  viewRow(entry) {
    return h(
      "tr",
      { key: entry.bty_image_ref },
      h("td", { class: "c-name" }, h("strong", null, entry.name), h("span", { class: "second source" }, entry.src), entry.description && h("span", { class: "second" }, entry.description), viewCheck(this.checks.get(entry.src))),
      h("td", { "data-label": "Format" }, entry.format ? h("code", null, entry.format) : badge("bad", "unknown")),
      h("td", { "data-label": "Arch" }, entry.arch ?? h("span", { class: "muted" }, "–")),
      h("td", { "data-label": "Size" }, entry.size_bytes ? bytes(entry.size_bytes) : h("span", { class: "muted" }, "unknown")),
      h("td", { "data-label": "Digest" }, entry.disk_image_sha ? digest(entry.disk_image_sha) : badge("wait", "not verified")),
      h("td", { "data-label": "Added" }, time(entry.added_at)),
      h(
        "td",
        { class: "c-action" },
        h("a", { class: "button small", href: `/ui/machines${query({ q: entry.bty_image_ref })}`, "aria-label": `Machines with ${entry.name}` }, "Machines"),
        h("button", { type: "button", class: "small", "aria-label": `Check ${entry.name}`, disabled: this.checks.get(entry.src) === null, onclick: () => this.check(entry) }, "Check"),
        h("button", { type: "button", class: "small danger", "aria-label": `Delete ${entry.name}`, onclick: () => this.remove(entry) }, "Delete"),
      ),
    );
  }

  viewEmpty() {
    if (this.shown.q || this.shown.filter) return empty("No image matches.", h("p", null, h("a", { class: "button", href: "/ui/images" }, "Show all images")));
    return empty(
      "The catalog is empty.",
      h("p", null, "Add an image by its address: a raw, gz, xz, zst, bz2 or qcow2 disk image on a web server, or an oras:// reference in a registry."),
      h("p", null, "Or import a whole catalog: a catalog.toml by its address."),
    );
  }

  /** @param {Entry} entry */
  async check(entry) {
    this.checks.set(entry.src, null);
    this.app.redraw();
    try {
      this.checks.set(entry.src, await send("POST", "/catalog/entries/check", { src: entry.src }));
    } catch (error) {
      this.checks.set(entry.src, /** @type {Error} */ (error));
    }
    this.app.redraw();
  }

  /** @param {Entry} entry */
  async remove(entry) {
    let bound = 0;
    try {
      bound = (await get(`/machines${query({ q: entry.bty_image_ref, per_page: 1 })}`)).total;
    } catch {
      // Without the number the question is asked all the same.
    }
    const agreed = await confirm({
      title: `Delete ${entry.name}?`,
      yes: "Delete the image",
      text: [
        h("p", null, h("strong", null, entry.name), " leaves the catalog: ", h("span", { class: "source" }, entry.src), ". The file itself stays where it is."),
        bound > 0 && h("p", { class: "bad-text" }, `${plural(bound, "machine is", "machines are")} bound to it and will not be flashed any more.`),
      ],
    });
    if (!agreed) return;
    try {
      await send("DELETE", `/catalog/entries${query({ src: entry.src })}`);
      this.app.notify(`${entry.name} was deleted.`);
    } catch (error) {
      this.app.notify(/** @type {import("../lib/api.js").ApiError} */ (error).message, "bad");
    }
    this.refresh();
  }
}

/** @param {import("../api.js").Found | null | Error | undefined} found */
function viewCheck(found) {
  if (found === undefined) return null;
  if (found === null) return h("span", { class: "second", role: "status" }, "Asking the origin…");
  if (found instanceof Error) return h("span", { class: "second bad-text", role: "status" }, found.message);
  const { origin, withcache } = found;
  return h(
    "span",
    { class: "checked", role: "status" },
    origin.reachable ? badge("good", "origin answers") : badge("bad", "origin does not answer"),
    origin.reachable ? h("span", { class: "second" }, origin.size_bytes ? bytes(origin.size_bytes) : "size unknown") : h("span", { class: "second bad-text" }, origin.error),
    withcache.configured && badge(withcache.hit ? "good" : "wait", withcache.hit ? "cached" : "the cache fetches it now"),
  );
}
