// The table of machines: found, sorted, chosen, and changed many at once, while they boot and flash.

import { get, query } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { go } from "../lib/router.js";
import { h } from "../lib/vdom.js";
import { rangeOf, readChoice, writeChoice } from "../model/choice.js";
import { count, plural } from "../model/format.js";
import { diskName, findDisk, machinePath, modeName, sizeOf, stateOf } from "../model/machine.js";
import { Rows } from "../model/rows.js";
import { askToAdd } from "../parts/add-machine.js";
import { askToChange, askToDelete, askToReset } from "../parts/bulk.js";
import { badge, empty, failure, flashBar, heading, pager, sortHead, time } from "../parts/common.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../lib/vdom.js").Child} Child
 */

const SORTS = ["mac", "bty_image_ref", "boot_mode", "last_seen_at", "last_seen_ip", "last_flashed_at"];
const SIZES = [10, 25, 50, 100, 250];
const FILTERS = [
  ["", "All"],
  ["discovered", "Without an image"],
  ["assigned", "With an image"],
  ["flashing", "Flashing"],
  ["failed", "Flash failed"],
];
const TYPING_MS = 250;
const ALL_PER_PAGE = 500;

/**
 * @param {App} app
 * @returns {Page}
 */
export function machinesPage(app) {
  const table = new MachineTable(app);
  return {
    title: "Machines",
    view: () => table.view(),
    navigate: (found, hash) => table.navigate(found, hash),
    take: (name, data) => table.take(name, data),
    leave: () => table.load.stop(),
  };
}

/** @param {URLSearchParams} found */
function readView(found) {
  const sort = found.get("sort") ?? "";
  const size = Number(found.get("per_page"));
  return {
    q: found.get("q") ?? "",
    filter: found.get("filter") ?? "",
    label: found.get("label") ?? "",
    sort: SORTS.includes(sort) ? sort : "mac",
    dir: found.get("dir") === "desc" ? "desc" : "asc",
    page: Math.max(1, Math.floor(Number(found.get("page")) || 1)),
    per_page: SIZES.includes(size) ? size : 25,
  };
}

/**
 * Return the machines that a fragment like `#sel=525400000001,…` names.
 * @param {string} hash
 */
export function readSelection(hash) {
  return new Set(readChoice(hash, /^[0-9a-f]{12}$/).map((hex) => hex.replace(/..(?!$)/g, "$&:")));
}

/** @param {Set<string>} macs */
export function writeSelection(macs) {
  return writeChoice([...macs].map((mac) => mac.replaceAll(":", "")));
}

class MachineTable {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    this.rows = new Rows(readView(new URLSearchParams()));
    this.address = "";
    this.inPlace = false;
    /** @type {Set<string>} */
    this.selected = new Set();
    this.lastChosen = -1;
    this.load = new Load(() => this.fetch(), () => app.redraw());
  }

  get shown() {
    return this.rows.view;
  }

  async fetch() {
    const { rows, inPlace } = this;
    const { turn } = this.load;
    this.inPlace = false;
    rows.begin();
    const page = await get(`/machines${query(rows.view)}`);
    if (turn === this.load.turn) rows.replace(page, { inPlace });
  }

  /** Bring every row up to date without moving any. */
  refresh() {
    this.inPlace = true;
    this.load.soon();
  }

  reorder() {
    this.inPlace = false;
    this.load.run();
  }

  /**
   * @param {URLSearchParams} found
   * @param {string} hash
   */
  navigate(found, hash) {
    this.selected = readSelection(hash);
    const view = readView(found);
    const address = query(view);
    if (address === this.address) return;
    this.address = address;
    const before = this.rows;
    this.rows = new Rows(view);
    // Until the answer is there the old rows stay: a page that goes blank at each letter cannot be read.
    this.rows.machines = before.machines;
    this.rows.total = before.total;
    this.lastChosen = -1;
    this.load.run();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "machine" && this.rows.put(data)) this.load.soon();
    else if (name === "progress") this.rows.progress(data.mac, data.progress);
    else if (name === "machine-deleted") {
      this.rows.remove(data.mac);
      if (this.selected.has(data.mac)) this.choose([data.mac], false);
    } else if (name === "resync") this.refresh();
  }

  /**
   * @param {string[]} macs
   * @param {boolean} isChosen
   */
  choose(macs, isChosen) {
    const selected = new Set(this.selected);
    for (const mac of macs) isChosen ? selected.add(mac) : selected.delete(mac);
    go(location.pathname + location.search + writeSelection(selected), { replace: true });
  }

  /**
   * @param {MouseEvent} event
   * @param {number} index
   */
  click(event, index) {
    const box = /** @type {HTMLInputElement} */ (event.target);
    const range = rangeOf(this.rows.machines, event.shiftKey ? this.lastChosen : -1, index);
    this.lastChosen = index;
    this.choose(range.filter(({ mac }) => !this.rows.gone.has(mac)).map(({ mac }) => mac), box.checked);
  }

  /** Choose every machine of the view, those of other pages too. */
  async chooseAll() {
    /** @type {string[]} */
    const macs = [];
    try {
      for (let page = 1, total = 1; (page - 1) * ALL_PER_PAGE < total; page += 1) {
        const answer = await get(`/machines${query({ ...this.shown, page, per_page: ALL_PER_PAGE })}`);
        total = answer.total;
        macs.push(...answer.items.map((/** @type {Machine} */ { mac }) => mac));
      }
      this.choose(macs, true);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.app.setQuery({ q: text, page: null }, { replace: true }), TYPING_MS);
  }

  /**
   * The address of another view of the table; what is chosen stays chosen.
   * @param {Record<string, string | number | null>} change
   */
  at(change) {
    const kept = Object.fromEntries(new URLSearchParams(location.search));
    return `/ui/machines${query({ ...kept, ...change })}${location.hash}`;
  }

  /** @param {(app: App, macs: string[]) => Promise<boolean>} ask */
  async act(ask) {
    if ((await ask(this.app, [...this.selected])) && this.app.stream.state !== "live") this.refresh();
  }

  view() {
    const { rows, load } = this;
    return [
      heading("Machines", {
        lead: [h("span", { key: "total" }, rows.isLoaded ? plural(rows.total, "machine") + (this.isNarrowed() ? " match" : "") : "Loading…"), this.viewStale()],
        actions: h("button", { type: "button", class: "primary", onclick: () => askToAdd(this.app) }, "Add a machine"),
      }),
      this.viewFilters(),
      failure(load),
      rows.machines.length ? this.viewTable() : rows.isLoaded && this.viewEmpty(),
      rows.machines.length > 0 && this.viewFoot(),
      this.selected.size > 0 && this.viewBulk(),
    ];
  }

  /** What changed about the order: in a line that is there anyway, so that it moves nothing. */
  viewStale() {
    const { size } = this.rows.stale;
    if (!size) return null;
    return h(
      "span",
      { class: "stale", role: "status", key: "stale" },
      `${plural(size, "machine")} would now stand elsewhere or ${size === 1 ? "is" : "are"} new here. `,
      h("button", { type: "button", class: "small", onclick: () => this.reorder() }, "Show the current order"),
    );
  }

  isNarrowed() {
    return Boolean(this.shown.q || this.shown.filter || this.shown.label);
  }

  viewFilters() {
    const { q, filter, label } = this.shown;
    return h(
      "div",
      { class: "filters", key: "filters" },
      h(
        "form",
        { role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        h("label", { for: "search", class: "unseen" }, "Search machines"),
        h("input", {
          id: "search",
          type: "search",
          placeholder: "MAC, label, address or image ref",
          value: q,
          oninput: (/** @type {any} */ event) => this.search(event.target.value),
        }),
      ),
      h(
        "nav",
        { class: "chips", "aria-label": "Filter" },
        FILTERS.map(([name, title]) =>
          h("a", { key: name, class: "chip", href: this.at({ filter: name || null, page: null }), "aria-current": filter === name ? "true" : null }, title),
        ),
        label && h("a", { key: "label", class: "chip", href: this.at({ label: null, page: null }), "aria-current": "true", "aria-label": `Label ${label}: remove this filter` }, `label ${label} ✕`),
      ),
    );
  }

  viewTable() {
    const { sort, dir } = this.shown;
    const macs = this.rows.machines.map(({ mac }) => mac).filter((mac) => !this.rows.gone.has(mac));
    const chosen = macs.filter((mac) => this.selected.has(mac)).length;
    /** @type {(name: string, title: string, css: string) => Child} */
    const head = (name, title, css) => sortHead({ name, title, sort, dir, class: css }, (next, way) => this.at({ sort: next, dir: way, page: null }));
    return h(
      "div",
      { class: "table-wrap", key: "table", "aria-busy": String(this.load.loading) },
      h(
        "table",
        { class: "machines" },
        h("caption", { class: "unseen" }, "Machines"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h(
              "th",
              { scope: "col", class: "c-check" },
              h("input", {
                type: "checkbox",
                "aria-label": "Choose all machines of this page",
                checked: chosen > 0 && chosen === macs.length,
                indeterminate: chosen > 0 && chosen < macs.length,
                onclick: (/** @type {any} */ event) => this.choose(macs, event.target.checked),
              }),
            ),
            head("mac", "Machine", "c-mac"),
            head("bty_image_ref", "Image and disk", "c-image"),
            head("boot_mode", "Mode and state", "c-state"),
            head("last_seen_at", "Last seen", "c-seen"),
            head("last_flashed_at", "Last flashed", "c-flashed"),
          ),
        ),
        h("tbody", null, this.rows.machines.map((machine, index) => this.viewRow(machine, index))),
      ),
    );
  }

  /**
   * @param {Machine} machine
   * @param {number} index
   */
  viewRow(machine, index) {
    const { mac } = machine;
    const isGone = this.rows.gone.has(mac);
    const state = stateOf(machine);
    return h(
      "tr",
      { key: mac, "data-mac": mac, class: [isGone && "gone", this.selected.has(mac) && "chosen"].filter(Boolean).join(" ") },
      h(
        "td",
        { class: "c-check" },
        h("input", { type: "checkbox", "aria-label": `Choose ${mac}`, checked: this.selected.has(mac), disabled: isGone, onclick: (/** @type {MouseEvent} */ event) => this.click(event, index) }),
      ),
      h(
        "td",
        { class: "c-mac" },
        h("a", { class: "mac", href: machinePath(mac) }, mac),
        machine.labels.length > 0 && h("span", { class: "tags" }, machine.labels.map((label) => h("a", { key: label, class: "tag", href: this.at({ label, page: null }) }, label))),
      ),
      h("td", { class: "c-image" }, this.viewImage(machine)),
      h(
        "td",
        { class: "c-state" },
        h("span", { class: "mode" }, modeName(machine.boot_mode)),
        isGone ? badge("bad", "deleted") : machine.progress ? flashBar(machine.progress, { label: `Flash of ${mac}` }) : badge(state.kind, state.text),
      ),
      h("td", { class: "c-seen" }, time(machine.last_seen_at), machine.last_seen_ip && h("span", { class: "second" }, machine.last_seen_ip)),
      h("td", { class: "c-flashed" }, time(machine.flashed_at)),
    );
  }

  /** @param {Machine} machine */
  viewImage(machine) {
    if (!machine.bty_image_ref) return h("span", { class: "muted" }, "no image");
    const entry = this.app.entry(machine.bty_image_ref);
    const disk = findDisk(machine, machine.target_disk_serial);
    const where = disk ? `${diskName(disk)} ${sizeOf(disk)}` : machine.target_disk_serial ? `serial ${machine.target_disk_serial}` : "no target disk";
    return [
      entry ? h("span", { class: "image-name", title: entry.name }, entry.name) : h("span", { class: "bad-text" }, this.app.images.data ? "not in the catalog" : machine.bty_image_ref.slice(0, 12)),
      h("span", { class: `second ${machine.target_disk_serial ? "" : "bad-text"}`, title: machine.target_disk_serial ?? "" }, where),
    ];
  }

  viewEmpty() {
    if (this.isNarrowed()) {
      return empty("No machine matches.", h("p", null, h("a", { class: "button", href: "/ui/machines" }, "Show all machines")));
    }
    return empty(
      "No machine has been seen yet.",
      h("p", null, "Have a machine boot from the network: it appears here by itself, reports its hardware, and nothing is written to it."),
      h("p", null, h("a", { class: "button", href: "/ui/netboot" }, "Set up the network boot"), " or add one by its MAC address."),
    );
  }

  viewFoot() {
    const { per_page, page } = this.shown;
    return h(
      "div",
      { class: "table-foot", key: "foot" },
      h("label", { for: "per-page" }, "Rows ",
        h("select", { id: "per-page", value: per_page, onchange: (/** @type {any} */ event) => this.app.setQuery({ per_page: event.target.value, page: null }) },
          SIZES.map((size) => h("option", { key: size, value: size, selected: size === per_page }, size)),
        ),
      ),
      pager({ page, per_page, total: this.rows.total }, (to) => this.at({ page: to })),
    );
  }

  viewBulk() {
    const { selected } = this;
    const elsewhere = [...selected].filter((mac) => !this.rows.machines.some((machine) => machine.mac === mac)).length;
    return h(
      "div",
      { class: "bulk", role: "region", "aria-label": "What to do with the chosen machines", key: "bulk" },
      h("p", null, h("strong", null, `${count(selected.size)} chosen`), elsewhere > 0 && `, ${count(elsewhere)} not on this page`),
      h(
        "div",
        { class: "actions" },
        selected.size < this.rows.total &&
          this.rows.machines.every(({ mac }) => selected.has(mac)) &&
          h("button", { type: "button", key: "all", class: "quiet", onclick: () => this.chooseAll() }, `Choose all ${count(this.rows.total)}${this.isNarrowed() ? " that match" : ""}`),
        h("button", { type: "button", class: "primary", onclick: () => this.act(askToChange) }, "Change…"),
        h("button", { type: "button", onclick: () => this.act(askToReset) }, "Start over…"),
        h("button", { type: "button", class: "danger", onclick: () => this.act(askToDelete) }, "Delete…"),
        h("button", { type: "button", class: "quiet", onclick: () => this.choose([...selected], false) }, "Clear"),
      ),
    );
  }
}
