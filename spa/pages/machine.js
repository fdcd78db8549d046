// One machine: what it is to become, what it does right now, and what it did.

import { get, query } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { go } from "../lib/router.js";
import { h } from "../lib/vdom.js";
import { plural } from "../model/format.js";
import { modeName, stateOf } from "../model/machine.js";
import { addLines } from "../model/tail.js";
import { Assignment } from "../parts/assignment.js";
import { askToDelete, askToReset } from "../parts/bulk.js";
import { badge, card, empty, facts, failure, flashBar, heading, note, tags, time } from "../parts/common.js";
import { eventList } from "../parts/events.js";
import { viewDisks, viewHardware } from "../parts/hardware.js";
import { viewLog } from "../parts/log.js";
import { viewReceipts } from "../parts/receipts.js";
import { viewNext, viewTimeline } from "../parts/timeline.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../types.js").AuditEvent} AuditEvent
 */

const LOG_SOON_MS = 200;

/**
 * @param {App} app
 * @param {Record<string, string>} params
 * @returns {Page}
 */
export function machinePage(app, params) {
  const page = new MachineView(app, decodeURIComponent(params.mac).toLowerCase().replaceAll("-", ":"));
  return { title: page.mac, view: () => page.view(), take: (name, data) => page.take(name, data), wake: () => page.wake(), isEdited: () => page.isEdited(), leave: () => page.leave() };
}

class MachineView {
  /**
   * @param {App} app
   * @param {string} mac
   */
  constructor(app, mac) {
    this.app = app;
    this.mac = mac;
    this.isDeleted = false;
    const changed = () => app.redraw();
    const path = `/machines/${encodeURIComponent(mac)}`;
    this.form = new Assignment(app, mac, (machine) => this.put(machine));
    /** @type {Load<Machine>} */
    this.machine = new Load(() => get(path), changed);
    /** @type {Load<AuditEvent[]>} */
    this.events = new Load(async () => (await get(`/events${query({ subject_id: mac, limit: 20 })}`)).events, changed);
    /** @type {Load<AuditEvent[]>} */
    this.receipts = new Load(() => fetchReceipts(mac), changed);
    /** @type {Load<import("../model/tail.js").Tail>} */
    this.log = new Load(() => this.fetchLog(`${path}/log`), changed);
    this.isLogOld = false;
    /** @type {Load<any>} */
    this.lshw = new Load(() => orNone(get(`${path}/lshw.json`)), changed);
    /** @type {Load<any>} */
    this.next = new Load(() => orNone(get(`${path}/explain`)), changed);
    /** @type {Load<any>} */
    this.timeline = new Load(() => orNone(get(`${path}/timeline`)), changed);
    // The record forgets when the hardware was reported once its mode, image or disk changes; the audit log does not.
    /** @type {Load<string | null>} */
    this.reported = new Load(async () => (await get(`/events${query({ subject_id: mac, kind: "machine.inventory", limit: 1 })}`)).events[0]?.ts ?? null, changed);
    this.loads = [this.machine, this.events, this.receipts, this.log, this.lshw, this.next, this.timeline, this.reported];
    for (const load of this.loads) load.run();
  }

  isEdited() {
    return this.machine.data !== undefined && !this.isDeleted && this.form.isEdited(this.machine.data);
  }

  leave() {
    for (const load of this.loads) load.stop();
  }

  /** The page is looked at again: fetch what was left alone meanwhile. */
  wake() {
    if (this.isLogOld) this.renewLog();
  }

  /** The log has new lines. Nothing is fetched for a page that nobody sees. */
  renewLog() {
    this.isLogOld = document.visibilityState !== "visible";
    if (!this.isLogOld) this.log.soon(LOG_SOON_MS);
  }

  /**
   * Fetch the lines that are not known yet, and have the stream tell once when there are more.
   * @param {string} path
   */
  async fetchLog(path) {
    const { turn } = this.log;
    const answer = await get(`${path}${query({ after: this.log.data?.upto })}`);
    // An answer that another one has overtaken adds nothing: the other one has its lines too.
    return addLines(turn === this.log.turn ? this.log.data : undefined, answer);
  }

  /** @param {Machine} machine */
  put(machine) {
    this.isDeleted = false;
    this.machine.turn += 1; // an older answer that is still under way is dropped
    this.machine.loading = false;
    this.machine.error = undefined;
    this.machine.data = machine;
    this.next.soon();
    this.timeline.soon();
    this.app.redraw();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync") {
      if (this.log.data) this.log.data.upto = 0; // after a restart of the daemon the numbers begin anew
      for (const load of this.loads) load.soon();
    }
    if (name === "hello") this.renewLog();
    else if (name === "event" && data.subject_id === this.mac) this.note(data);
    else if (data?.mac === this.mac) this.takeOwn(name, data);
  }

  /**
   * What is about this machine.
   * @param {string} name
   * @param {any} data
   */
  takeOwn(name, data) {
    if (name === "log" && data.upto !== this.log.data?.upto) this.renewLog();
    else if (name === "machine") this.put(data);
    else if (name === "machine-deleted") this.isDeleted = true;
    else if (name === "progress" && this.machine.data) {
      this.machine.data = { ...this.machine.data, progress: data.progress };
      if (data.progress?.stage !== this.stage || this.timeline.data?.stopped) this.timeline.soon();
      this.stage = data.progress?.stage;
    }
  }

  /** @param {AuditEvent} event */
  note(event) {
    if (this.events.data) this.events.data = [event, ...this.events.data.filter(({ id }) => id !== event.id)].slice(0, 20);
    if (event.kind.startsWith("machine.flash")) this.receipts.soon();
    if (event.kind === "machine.inventory") {
      this.lshw.soon();
      this.reported.soon();
    }
    this.timeline.soon();
  }

  view() {
    const { machine, mac } = this;
    const found = machine.data;
    if (!found) {
      const isUnknown = /** @type {any} */ (machine.error)?.status === 404 || /** @type {any} */ (machine.error)?.status === 400;
      return [
        heading(mac),
        isUnknown
          ? empty("There is no such machine.", h("p", null, "It was deleted, or has not booted from the network yet."), h("p", null, h("a", { class: "button", href: "/ui/machines" }, "All machines")))
          : (failure(machine) ?? h("p", { class: "muted" }, "Loading…")),
      ];
    }
    const state = stateOf(found);
    return [
      heading(h("span", { class: "mac" }, mac), {
        lead: [h("span", { class: "mode" }, modeName(found.boot_mode)), " ", badge(state.kind, state.text), " ", tags(found.labels)],
        actions: [
          h("button", { type: "button", key: "reset", disabled: this.isDeleted, onclick: () => this.act(askToReset) }, "Start over…"),
          h("button", { type: "button", key: "delete", class: "danger", disabled: this.isDeleted, onclick: () => this.remove() }, "Delete…"),
        ],
      }),
      this.isDeleted && note("warn", "This machine was deleted. If it boots from the network again it comes back as a new one."),
      found.progress && card("Flash", { class: "running" }, flashBar(found.progress, { label: `Flash of ${mac}`, long: true })),
      found.flash_error &&
        note("bad", h("p", null, h("strong", null, "The last flash failed. "), found.flash_error), h("p", null, `${plural(found.cycle_attempts || 1, "attempt")} failed. Mend the cause and have it start over, or give it another image or disk.`)),
      h(
        "div",
        { class: "columns", key: "columns" },
        h("div", { class: "column" }, this.form.view(found), viewReceipts(this.receipts, found), viewLog(this.log)),
        h(
          "div",
          { class: "column" },
          this.viewIdentity(found),
          viewTimeline(this.timeline, found.progress),
          viewNext(this.next, mac, Boolean(found.progress)),
          viewDisks(found),
          viewHardware(found, this.lshw),
          card("Events", { actions: h("a", { href: `/ui/events${query({ subject_id: mac })}` }, "All of them") }, eventList(this.events, "Nothing has happened yet.")),
        ),
      ),
    ];
  }

  /** @param {Machine} machine */
  viewIdentity(machine) {
    const reportedAt = machine.known_disks_at ?? (machine.known_disks && this.reported.data);
    return card(
      "Machine",
      {},
      facts([
        ["MAC", h("code", null, machine.mac)],
        ["Address", machine.last_seen_ip],
        ["Last seen", time(machine.last_seen_at)],
        ["Last flashed", time(machine.flashed_at)],
        ["First seen", machine.discovered_at ? time(machine.discovered_at) : "not yet: it was added by hand"],
        ["Hardware reported", machine.known_disks && !reportedAt ? "before its mode, image or disk was set" : time(reportedAt)],
      ]),
    );
  }

  /** @param {(app: App, macs: string[]) => Promise<boolean>} ask */
  async act(ask) {
    if ((await ask(this.app, [this.mac])) && this.app.stream.state !== "live") this.machine.run();
  }

  async remove() {
    if (await askToDelete(this.app, [this.mac])) go("/ui/machines");
  }
}

/** @param {string} mac */
async function fetchReceipts(mac) {
  const kinds = ["machine.flashed", "machine.flash.failed"];
  const answers = await Promise.all(kinds.map((kind) => get(`/events${query({ subject_id: mac, kind, limit: 10 })}`)));
  return answers.flatMap(({ events }) => events).sort((a, b) => b.id - a.id);
}

/**
 * Return what is asked for, or null where there is none of it.
 * @param {Promise<any>} asked
 */
async function orNone(asked) {
  try {
    return await asked;
  } catch (error) {
    if (/** @type {any} */ (error).status === 404) return null;
    throw error;
  }
}
