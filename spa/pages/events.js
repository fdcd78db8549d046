// The audit log: searched, filtered, marked as seen.

import { get, query, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { go } from "../lib/router.js";
import { h } from "../lib/vdom.js";
import { rangeOf, readChoice, writeChoice } from "../model/choice.js";
import { count, moment, plural } from "../model/format.js";
import { empty, failure, heading } from "../parts/common.js";
import { isFailure, linked } from "../parts/events.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../types.js").AuditEvent} AuditEvent
 */

const EXACT = ["kind", "subject_kind", "subject_id", "actor", "source_ip"];
const NAMES = [...EXACT, "q", "failed", "unacknowledged", "before_id"];
const SUBJECTS = ["machine", "catalog", "netboot", "settings", "auth", "backup"];
const PER_PAGE = 100;
const TYPING_MS = 300;

/**
 * @param {App} app
 * @returns {Page}
 */
export function eventsPage(app) {
  const page = new EventLog(app);
  return { title: "Events", view: () => page.view(), navigate: (found, hash) => page.navigate(found, hash), take: (name, data) => page.take(name, data), leave: () => page.load.stop() };
}

class EventLog {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Record<string, string>} */
    this.shown = {};
    this.address = "-";
    /** @type {AuditEvent[]} */
    this.newer = [];
    /** @type {number | null} */
    this.searchedTo = null;
    /** @type {Set<number>} */
    this.selected = new Set();
    this.lastChosen = -1;
    /** @type {Load<AuditEvent[]>} */
    this.load = new Load(() => this.fetch(), () => app.redraw());
  }

  async fetch() {
    const { events, searched_to: searchedTo } = await get(`/events${query({ ...this.shown, limit: PER_PAGE })}`);
    this.newer = [];
    this.searchedTo = searchedTo;
    return events;
  }

  /**
   * @param {URLSearchParams} found
   * @param {string} hash
   */
  navigate(found, hash) {
    this.selected = new Set(readChoice(hash, /^\d{1,15}$/).map(Number));
    this.shown = Object.fromEntries(NAMES.map((name) => [name, found.get(name) ?? ""]));
    const address = query(this.shown);
    if (address === this.address) return;
    this.address = address;
    this.lastChosen = -1;
    this.load.run();
  }

  /** The events of this page that can be marked: an event that is no failure asks for nothing. */
  failures() {
    return (this.load.data ?? []).filter(isFailure);
  }

  /**
   * @param {number[]} ids
   * @param {boolean} isChosen
   */
  choose(ids, isChosen) {
    const selected = new Set(this.selected);
    for (const id of ids) isChosen ? selected.add(id) : selected.delete(id);
    go(location.pathname + location.search + writeChoice(selected), { replace: true });
  }

  /**
   * @param {MouseEvent} event
   * @param {number} id
   */
  click(event, id) {
    const ids = this.failures().map((failed) => failed.id);
    const index = ids.indexOf(id);
    const range = rangeOf(ids, event.shiftKey ? this.lastChosen : -1, index);
    this.lastChosen = index;
    this.choose(range, /** @type {HTMLInputElement} */ (event.target).checked);
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync" || (name === "acknowledged" && !data.ids)) this.load.soon();
    else if (name === "acknowledged") this.mark(data.ids, data.acknowledged);
    else if (name === "event" && this.matches(data) && !this.load.data?.some(({ id }) => id === data.id)) this.newer = [data, ...this.newer];
  }

  /**
   * Tell whether a new event belongs to what is shown; a searched text is looked for where the daemon does.
   * @param {AuditEvent} event
   */
  matches(event) {
    const { q, before_id: before, failed, unacknowledged } = this.shown;
    if (before || ((failed || unacknowledged) && !isFailure(event))) return false;
    const words = [event.kind, event.subject_kind, event.subject_id, event.actor, event.source_ip, event.summary];
    if (q && !words.some((word) => word?.toLowerCase().includes(q.trim().toLowerCase()))) return false;
    return EXACT.every((name) => !this.shown[name] || /** @type {any} */ (event)[name] === this.shown[name]);
  }

  /**
   * @param {number[]} ids
   * @param {boolean} acknowledged
   */
  mark(ids, acknowledged) {
    this.load.data = this.load.data?.map((event) => (ids.includes(event.id) ? { ...event, acknowledged } : event));
  }

  /**
   * @param {number[]} ids
   * @param {boolean} acknowledged
   */
  async acknowledge(ids, acknowledged) {
    const answer = await this.tell({ ids, acknowledged });
    if (answer) this.mark(ids, acknowledged);
    this.app.redraw();
    return answer;
  }

  /** @param {boolean} acknowledged */
  async acknowledgeChosen(acknowledged) {
    const ids = [...this.selected];
    const answer = await this.acknowledge(ids, acknowledged);
    if (!answer) return;
    this.app.notify(`${plural(answer.updated, "failure")} marked as ${acknowledged ? "seen" : "new"}.`);
    this.choose(ids, false);
  }

  async acknowledgeAll() {
    const answer = await this.tell({ open_failures: true });
    if (answer) this.app.notify(`${plural(answer.updated, "failure")} marked as seen.`);
    this.load.run();
  }

  /** @param {unknown} body */
  async tell(body) {
    try {
      return await send("POST", "/events/acknowledge", body);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
      return null;
    }
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.app.setQuery({ q: text, before_id: null }, { replace: true }), TYPING_MS);
  }

  /** @param {Record<string, string | number | null>} change */
  at(change) {
    return `/ui/events${query({ ...this.shown, before_id: null, ...change })}${writeChoice(this.selected)}`;
  }

  view() {
    const events = this.load.data ?? [];
    const open = events.filter((event) => isFailure(event) && !event.acknowledged).map(({ id }) => id);
    return [
      heading("Events", {
        lead: [h("span", { key: "lead" }, "Everything that happened, newest first."), this.viewNewer()],
        actions: [
          open.length > 0 && h("button", { type: "button", key: "these", onclick: () => this.acknowledge(open, true) }, `Mark ${plural(open.length, "failure")} as seen`),
          Boolean(this.shown.unacknowledged) && h("button", { type: "button", key: "all", onclick: () => this.acknowledgeAll() }, "Mark all open failures as seen"),
        ],
      }),
      this.viewFilters(),
      failure(this.load),
      events.length > 0 && this.viewTable(events),
      !this.load.data && !this.load.error && h("p", { class: "muted", key: "loading" }, "Loading…"),
      this.load.data && events.length === 0 && this.viewEmpty(),
      this.viewFoot(events),
      this.selected.size > 0 && this.viewChosen(events),
    ];
  }

  /** What came since, in a line that is there anyway: no row moves away from under a hand. */
  viewNewer() {
    if (!this.newer.length) return null;
    return h("span", { class: "stale", role: "status", key: "newer" }, `${plural(this.newer.length, "new event")}. `, h("button", { type: "button", class: "small", onclick: () => this.load.run() }, "Show"));
  }

  /** @param {AuditEvent[]} events */
  viewChosen(events) {
    const { selected } = this;
    const elsewhere = [...selected].filter((id) => !events.some((event) => event.id === id)).length;
    return h(
      "div",
      { class: "bulk", role: "region", "aria-label": "What to do with the chosen events", key: "bulk" },
      h("p", null, h("strong", null, `${count(selected.size)} chosen`), elsewhere > 0 && `, ${count(elsewhere)} not on this page`),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "primary", onclick: () => this.acknowledgeChosen(true) }, "Mark as seen"),
        h("button", { type: "button", onclick: () => this.acknowledgeChosen(false) }, "Mark as new"),
        h("button", { type: "button", class: "quiet", onclick: () => this.choose([...selected], false) }, "Clear"),
      ),
    );
  }

  viewEmpty() {
    if (this.shown.unacknowledged && !this.shown.q) return empty("No failure is open.", h("p", null, "Everything that went wrong has been marked as seen."));
    return empty("No event matches.", h("p", null, h("a", { class: "button", href: "/ui/events" }, "Show all events")));
  }

  /** @param {AuditEvent[]} events */
  viewFoot(events) {
    const last = events.at(-1);
    const older = this.searchedTo ?? (events.length === PER_PAGE && last ? last.id : null);
    return h(
      "div",
      { class: "table-foot", key: "foot" },
      this.shown.before_id && h("a", { class: "button", href: this.at({}) }, "Newest"),
      older !== null && h("a", { class: "button", href: this.at({ before_id: older }) }, this.searchedTo === null ? "Older" : "Search further back"),
    );
  }

  viewFilters() {
    const { shown } = this;
    const narrowed = ["kind", "subject_id", "actor", "source_ip"].filter((name) => shown[name]);
    /** @type {(key: string, title: string, href: string, isOn: boolean, label?: string) => import("../lib/vdom.js").Child} */
    const chip = (key, title, href, isOn, label) => h("a", { key, class: "chip", href, "aria-current": isOn ? "true" : null, "aria-label": label }, title);
    return h(
      "div",
      { class: "filters", key: "filters" },
      h(
        "form",
        { role: "search", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        h("label", { for: "search", class: "unseen" }, "Search events"),
        h("input", { id: "search", type: "search", placeholder: "Words, kind, MAC, address", value: shown.q, oninput: (/** @type {any} */ event) => this.search(event.target.value) }),
      ),
      h(
        "nav",
        { class: "chips", "aria-label": "Filter" },
        chip("all", "All", `/ui/events${writeChoice(this.selected)}`, this.address === ""),
        chip("failed", "Failures", this.at({ failed: shown.failed ? "" : "1" }), Boolean(shown.failed)),
        chip("open", "Open failures", this.at({ unacknowledged: shown.unacknowledged ? "" : "1" }), Boolean(shown.unacknowledged)),
        SUBJECTS.map((subject) => chip(subject, subject, this.at({ subject_kind: shown.subject_kind === subject ? "" : subject }), shown.subject_kind === subject)),
        narrowed.map((name) => chip(`x${name}`, `${shown[name]} ✕`, this.at({ [name]: "" }), true, `${shown[name]}: remove this filter`)),
      ),
    );
  }

  /** @param {AuditEvent[]} events */
  viewTable(events) {
    const ids = this.failures().map(({ id }) => id);
    const chosen = ids.filter((id) => this.selected.has(id)).length;
    return h(
      "div",
      { class: "table-wrap", key: "table", "aria-busy": String(this.load.loading) },
      h(
        "table",
        { class: "event-table" },
        h("caption", { class: "unseen" }, "Events"),
        h(
          "thead",
          null,
          h(
            "tr",
            null,
            h(
              "th",
              { scope: "col", class: "c-check", key: "check" },
              h("input", {
                type: "checkbox",
                "aria-label": "Choose all failures of this page",
                disabled: !ids.length,
                checked: chosen > 0 && chosen === ids.length,
                indeterminate: chosen > 0 && chosen < ids.length,
                onclick: (/** @type {any} */ event) => this.choose(ids, event.target.checked),
              }),
            ),
            ["When", "What", "Kind", "By", ""].map((title) => h("th", { scope: "col", key: title }, title || h("span", { class: "unseen" }, "Action"))),
          ),
        ),
        h("tbody", null, events.map((event) => this.viewRow(event))),
      ),
    );
  }

  /** @param {AuditEvent} event */
  viewRow(event) {
    const hasFailed = isFailure(event);
    const { id, acknowledged, summary } = event;
    return h(
      "tr",
      { key: id, class: [hasFailed && "failed", hasFailed && acknowledged && "seen", this.selected.has(id) && "chosen"].filter(Boolean).join(" ") },
      h("td", { class: "c-check" }, hasFailed && h("input", { type: "checkbox", "aria-label": `Choose: ${summary}`, checked: this.selected.has(id), onclick: (/** @type {MouseEvent} */ click) => this.click(click, id) })),
      h("td", { class: "c-when" }, h("time", { datetime: event.ts }, moment(event.ts))),
      h("td", { class: "c-what" }, h("span", { class: "summary" }, linked(summary)), event.details && h("details", null, h("summary", null, "Details"), h("pre", { class: "log", tabindex: "0" }, JSON.stringify(event.details, null, 2)))),
      h("td", { "data-label": "Kind" }, h("a", { class: "kind", href: `/ui/events${query({ kind: event.kind })}` }, event.kind)),
      h("td", { "data-label": "By" }, event.actor ?? "", event.source_ip && h("span", { class: "second" }, event.source_ip)),
      h(
        "td",
        { class: "c-action" },
        hasFailed &&
          h("button", { type: "button", class: acknowledged ? "small quiet" : "small", "aria-label": `${acknowledged ? "Mark as new" : "Mark as seen"}: ${summary}`, onclick: () => this.acknowledge([id], !acknowledged) }, acknowledged ? "seen ✓" : "Seen"),
      ),
    );
  }
}
