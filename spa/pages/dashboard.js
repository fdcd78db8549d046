// The first page: the fleet at a glance, what runs, and what is wrong.

import { get, query } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { count, duration, rate } from "../model/format.js";
import { machinePath, modeName } from "../model/machine.js";
import { bars, dots } from "../parts/charts.js";
import { card, empty, facts, failure, flashBar, heading, time } from "../parts/common.js";
import { eventList, isFailure } from "../parts/events.js";
import { loadHealth, viewHealth } from "../parts/health.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../types.js").Machine} Machine
 */

const EVENTS = 10;
const HISTORY = 200;
const STRIP = 48; // as many as the overview has: more bars are no glance

/**
 * @param {App} app
 * @returns {Page}
 */
export function dashboardPage(app) {
  const page = new Dashboard(app);
  return { title: "Dashboard", view: () => page.view(), take: (name, data) => page.take(name, data), leave: () => page.leave() };
}

class Dashboard {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Map<string, Machine>} */
    this.flashing = new Map();
    const changed = () => app.redraw();
    /** @type {Load<import("../api.js").OverviewRow>} */
    this.summary = new Load(() => this.fetch(), changed);
    /** @type {Load<any[]>} */
    this.events = new Load(async () => (await get(`/events${query({ limit: EVENTS })}`)).events, changed);
    this.summary.run();
    this.events.run();
    /** @type {Load<import("../api.js").HealthRow>} */
    this.health = loadHealth(changed);
    this.health.run();
    /** @type {Load<any[]>} */
    this.history = new Load(async () => (await get(`/events${query({ kind: "machine.flashed", limit: HISTORY })}`)).events, changed);
    this.history.run();
  }

  leave() {
    this.health.stop();
    this.history.stop();
    this.summary.stop();
    this.events.stop();
  }

  async fetch() {
    const found = await get("/overview");
    this.flashing = new Map(found.running.map((/** @type {Machine} */ machine) => [machine.mac, machine]));
    return found;
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync" || name === "acknowledged" || name === "catalog") this.health.soon(1000);
    if (name === "acknowledged") this.events.soon();
    if (name === "resync") {
      for (const load of [this.summary, this.events, this.history]) load.soon();
    } else if (name === "machine") {
      if (data.progress) this.flashing.set(data.mac, data);
      else this.flashing.delete(data.mac);
      this.summary.soon(1000);
    } else if (name === "machine-deleted") {
      this.flashing.delete(data.mac);
      this.summary.soon(1000);
    } else if (name === "progress") {
      if (data.progress) this.flashing.set(data.mac, { ...this.flashing.get(data.mac), ...data });
      else this.flashing.delete(data.mac);
    } else if (name === "event") {
      if (this.events.data) this.events.data = [data, ...this.events.data].slice(0, EVENTS);
      if (data.kind === "machine.flashed" && this.history.data) this.history.data = [data, ...this.history.data].slice(0, HISTORY);
      if (isFailure(data) || data.subject_kind !== "machine") this.health.soon(1000);
    }
  }

  view() {
    const found = this.summary.data;
    return [
      heading("Dashboard"),
      failure(this.summary),
      this.viewStrip(),
      found && found.total === 0 && this.viewStart(),
      h(
        "div",
        { class: "board", key: "board" },
        h("div", { class: "tiles" }, this.viewMachines(found), this.viewImages(), found && found.total > 0 && this.viewCharts(found)),
        viewHealth(this.health),
      ),
      card("Events", { actions: h("a", { href: "/ui/events" }, "All of them") }, eventList(this.events, "Nothing has happened yet.")),
    ];
  }

  /** @param {import("../api.js").OverviewRow | undefined} found */
  viewMachines(found) {
    return card("Machines", { actions: h("a", { href: "/ui/machines" }, "All") },
      h("p", { class: "figure" }, found ? count(found.total) : "…"),
      found &&
        facts([
          ["Without an image", h("a", { href: "/ui/machines?filter=discovered" }, count(found.unassigned))],
          ["Flashing now", h("a", { href: "/ui/machines?filter=flashing" }, count(this.countFlashing()))],
          ["Flash failed", h("a", { href: "/ui/machines?filter=failed", class: found.failed ? "bad-text" : "" }, count(found.failed))],
          ["Last seen", time(found.last_seen_at)],
          ["Last flashed", time(found.last_flashed_at)],
        ]),
    );
  }

  viewImages() {
    const images = this.app.images.data;
    const inRegistry = images?.filter((entry) => entry.src.toLowerCase().startsWith("oras://")).length ?? 0;
    return card("Images", { actions: h("a", { href: "/ui/images" }, "All") },
      failure(this.app.images),
      h("p", { class: "figure" }, images ? count(images.length) : "…"),
      images && facts([
        ["HTTP", h("a", { href: "/ui/images?filter=http" }, count(images.length - inRegistry))],
        ["OCI registry", h("a", { href: "/ui/images?filter=oras" }, count(inRegistry))],
        ["Without a digest", h("a", { href: "/ui/images?filter=unverified" }, count(images.filter((entry) => !entry.disk_image_sha).length))],
      ]),
    );
  }

  /** @param {import("../api.js").OverviewRow} found */
  viewCharts(found) {
    const points = (this.history.data ?? []).flatMap(({ ts, details, subject_id: mac }) => (details?.seconds > 0 ? [{ at: Date.parse(ts), mac, seconds: details.seconds, bytes: details.image_bytes }] : []));
    const images = found.images.map(({ bty_image_ref: ref, machines }) => ({ key: ref, title: this.app.entry(ref)?.name ?? `${ref.slice(0, 12)}…, not in the catalog`, value: machines, href: `/ui/machines${query({ q: ref })}` }));
    return [
      card("Machines by mode", {}, bars(found.modes.map(({ boot_mode: mode, machines }) => ({ key: mode, title: modeName(mode), value: machines })))),
      images.length > 0 && card("Machines by image", {}, bars(images)),
      points.length > 1 && card("Time of flashes", {}, dots("Time of flashes", points.map(({ at, mac, seconds }) => ({ at, value: seconds, title: mac })), duration)),
      points.some((point) => point.bytes) && points.length > 1 &&
        card("Rate of flashes", {}, dots("Rate of flashes", points.filter((point) => point.bytes).map(({ at, mac, seconds, bytes: size }) => ({ at, value: size / seconds, title: mac })), rate)),
    ];
  }

  /** How many flashes run: the overview lists only the first, the stream tells of new ones at once. */
  countFlashing() {
    return Math.max(this.flashing.size, this.summary.data?.flashing ?? 0);
  }

  viewStrip() {
    if (!this.flashing.size) return null;
    const running = [...this.flashing.values()].sort((a, b) => (a.mac < b.mac ? -1 : 1)).slice(0, STRIP);
    const total = this.countFlashing();
    return card(
      `Flashing now: ${count(total)}`,
      { class: "running", id: "flashing", actions: total > running.length && h("a", { href: "/ui/machines?filter=flashing" }, "All of them") },
      h("ul", { class: "strip", tabindex: "0", "aria-label": "Flashes that run" }, running.map((machine) =>
        h("li", { key: machine.mac }, h("span", { class: "who" }, h("a", { class: "mac", href: machinePath(machine.mac) }, machine.mac), (machine.labels?.length ?? 0) > 0 && h("span", { class: "second" }, machine.labels.join(", "))), machine.progress && flashBar(machine.progress, { label: `Flash of ${machine.mac}` })),
      )),
    );
  }

  viewStart() {
    return empty(
      "What to do first",
      h("ol", { class: "first" },
        h("li", null, h("a", { href: "/ui/images" }, "Add an image"), " by its address, or import a catalog."),
        h("li", null, h("a", { href: "/ui/netboot" }, "Set up the network boot"), ": the live environment, and what your DHCP server has to say."),
        h("li", null, "Switch a machine on. It appears under ", h("a", { href: "/ui/machines" }, "Machines"), " and reports its hardware; nothing is written to it."),
        h("li", null, "Open it, choose image, disk and mode, and switch it on once more."),
      ),
    );
  }
}
