// Lines of the audit log, as several pages show them.

import { h } from "../lib/vdom.js";
import { machinePath } from "../model/machine.js";
import { empty, failure, time } from "./common.js";

/**
 * @typedef {import("../lib/vdom.js").Child} Child
 * @typedef {import("../types.js").AuditEvent} AuditEvent
 */

const MAC = /\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b/g;

/** @param {AuditEvent} event */
export function isFailure(event) {
  return event.kind.endsWith("failed") || event.kind === "system.schema.reset";
}

/**
 * The summary of an event, with its machines as links.
 * @param {string} text
 */
export function linked(text) {
  /** @type {Child[]} */
  const pieces = [];
  let end = 0;
  for (const found of text.matchAll(MAC)) {
    const at = found.index ?? 0;
    pieces.push(text.slice(end, at), h("a", { href: machinePath(found[0]), key: `at ${at}` }, found[0]));
    end = at + found[0].length;
  }
  pieces.push(text.slice(end));
  return pieces;
}

/**
 * A short list of the newest events.
 * @param {import("../lib/load.js").Load<AuditEvent[]>} load
 * @param {string} nothing what to say where there are none
 */
export function eventList(load, nothing) {
  const events = load.data ?? [];
  if (load.error) return failure(load);
  if (!load.data) return h("p", { class: "muted" }, "Loading…");
  if (!events.length) return empty(nothing);
  return h(
    "ol",
    { class: "events" },
    events.map((event) =>
      h(
        "li",
        { key: event.id, class: isFailure(event) ? (event.acknowledged ? "failed seen" : "failed") : "" },
        h("span", { class: "when" }, time(event.ts)),
        h("span", { class: "what" }, linked(event.summary)),
        h("code", { class: "kind" }, event.kind),
      ),
    ),
  );
}
