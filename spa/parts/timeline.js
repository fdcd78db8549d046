// How far the boot cycle of a machine has come, where it stopped, and what its next boots do.

import { h } from "../lib/vdom.js";
import { sentence } from "../model/format.js";
import { runningSteps } from "../model/machine.js";
import { badge, card, failure, note, time } from "./common.js";

/**
 * @typedef {import("../lib/load.js").Load<any>} AnyLoad
 * @typedef {import("../types.js").Progress} Progress
 */

const STAGES = /** @type {Record<string, string>} */ ({
  script: "Script",
  kernel: "Live environment",
  inventory: "Hardware report",
  plan: "Plan",
  download: "Download",
  write: "Write",
  verify: "Read-back",
  done: "Done",
  disk: "Disk boot",
});
const MARKS = /** @type {Record<string, string>} */ ({ done: "✓", running: "…", failed: "✕", skipped: "–", pending: "" });

/**
 * The steps of the present cycle, and the usual causes where it stopped.
 * @param {AnyLoad} load
 * @param {Progress | null} progress of the flash that runs now
 */
export function viewTimeline(load, progress) {
  if (load.error) return card("Boot cycle", {}, failure(load));
  const line = load.data;
  if (!line) return null;
  return card(
    "Boot cycle",
    { actions: line.began_at && h("span", { class: "muted" }, "began ", time(line.began_at), line.attempts > 1 && `, attempt ${line.attempts}`) },
    !line.began_at && h("p", { class: "muted" }, "None has begun: the machine has not asked for its script since its mode was set."),
    line.stopped &&
      note(
        "bad",
        h("p", null, h("strong", null, `It stopped at “${STAGES[line.stopped.stage] ?? line.stopped.stage}”. `), line.stopped.reason),
        line.stopped.causes?.length > 0 && [h("p", null, "Usual causes:"), h("ul", { class: "causes" }, line.stopped.causes.map((/** @type {string} */ cause) => h("li", { key: cause }, cause)))],
      ),
    h(
      "ol",
      { class: "cycle" },
      runningSteps(line, progress).map((/** @type {any} */ stage) =>
        h(
          "li",
          { key: stage.stage, class: stage.state, "aria-current": stage.state === "running" ? "step" : null },
          h("span", { class: "mark", "aria-hidden": "true" }, MARKS[stage.state] ?? ""),
          h("span", { class: "what" }, STAGES[stage.stage] ?? stage.stage, h("span", { class: "unseen" }, `: ${stage.state}`), stage.detail && h("span", { class: "second" }, stage.detail)),
          h("span", { class: "when" }, stage.at && time(stage.at)),
        ),
      ),
    ),
  );
}

/**
 * The script that the machine would get now, the rule that chose it, and what comes after.
 * @param {AnyLoad} load
 * @param {string} mac
 * @param {boolean} isRunning a flash runs at this moment
 */
export function viewNext(load, mac, isRunning) {
  if (load.error) return card("What happens next", {}, failure(load));
  if (!load.data) return null;
  const { now, after } = load.data;
  const contacts = [now, ...after];
  return card(
    "What happens next",
    {},
    isRunning && h("p", null, h("strong", null, "A flash is running now."), " Below is what a boot from the network would do if it came now, not what the flash does."),
    h("ol", { class: "contacts" }, contacts.map((contact, index) =>
      h("li", { key: index },
        h("p", null, h("strong", null, whenBooted(contacts, index, isRunning), ": "), badge("none", contact.script)),
        h("p", { class: "second" }, contact.rule),
      ),
    )),
    !contacts[contacts.length - 1].repeats && h("p", { class: "second" }, "And so on."),
    now.text && h("details", null, h("summary", null, "The script it would get now"), h("pre", { class: "log", tabindex: "0" }, now.text)),
    h(
      "details",
      null,
      h("summary", null, "Without a network boot"),
      h("p", { class: "second" }, "Started as root on the machine itself, for example from a live system, the flasher asks for a plan at once and does what it says. No boot is counted: a flash that has not reported is not yet a failed attempt then."),
      h("pre", { class: "log command", tabindex: "0" }, `bty.pyz --server ${location.origin} --mac ${mac}`),
    ),
    now.plan && h("details", null, h("summary", null, "The plan it would get"), h("pre", { class: "log", tabindex: "0" }, JSON.stringify(now.plan, null, 2))),
  );
}

/**
 * Return when a contact comes: after what has to happen first, and whether all later ones are like it.
 * @param {{then: string, repeats: boolean}[]} contacts
 * @param {number} index
 * @param {boolean} isRunning
 */
function whenBooted(contacts, index, isRunning) {
  const when = index > 0 ? sentence(contacts[index - 1].then) : isRunning ? "If it booted now" : "At its next boot";
  return contacts[index].repeats ? `${when}, and from then on` : when;
}
