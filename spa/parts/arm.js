// Machines that wait since an import: what they are bound to, and the question before they get their modes back.

import { get, send } from "../lib/api.js";
import { h } from "../lib/vdom.js";
import { imageName } from "../model/catalog.js";
import { armHeld } from "../model/change.js";
import { plural, sentence } from "../model/format.js";
import { describeDisk, findDisk, modeName } from "../model/machine.js";
import { note } from "./common.js";
import { confirm } from "./dialog.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../api.js").Held} Held
 */

/**
 * Return in one line what is written where in a mode.
 * @param {App} app
 * @param {string} mode
 * @param {{bty_image_ref: string | null, target_disk_serial: string | null}} bound
 * @param {import("../types.js").Disk} [disk] the target, where the machine has reported it
 */
export function describeBinding(app, mode, { bty_image_ref: ref, target_disk_serial: serial }, disk) {
  const image = !ref ? "no image" : app.isMissing(ref) ? "an image that is not in the catalog" : imageName(app.entry(ref), ref);
  return `${modeName(mode)}: ${image} on ${disk ? describeDisk(disk) : serial ? `the disk with the serial ${serial}` : "no disk"}`;
}

/**
 * Give machines that wait since an import their modes back, after one question that names them and their disks as they are now.
 * Returns whether none of them waits any more.
 * @param {App} app
 * @param {Held[]} held
 */
export async function askToArm(app, held) {
  try {
    const { plan, left, request } = armHeld(held, await get("/machines"), (ref) => app.isMissing(ref));
    if (!plan.length) {
      app.notify("None of these machines waits any more.", "info");
      return true;
    }
    if (!(await confirmArming(app, plan, left))) return false;
    await send("POST", "/machines/bulk", request);
    app.notify(`${plural(plan.length, "machine")} armed.`);
    return true;
  } catch (error) {
    app.notify(/** @type {Error} */ (error).message, "bad");
    return false;
  }
}

/**
 * @param {App} app
 * @param {ReturnType<typeof armHeld>["plan"]} plan
 * @param {ReturnType<typeof armHeld>["left"]} left
 */
function confirmArming(app, plan, left) {
  const writing = plan.filter(({ writes }) => writes);
  const others = plan.filter(({ writes }) => !writes);
  /** @type {(label: string, lines: {mac: string, words: string}[]) => import("../lib/vdom.js").Child} */
  const list = (label, lines) =>
    h("ul", { class: "losses", tabindex: "0", "aria-label": label }, lines.map(({ mac, words }) => h("li", { key: mac }, h("code", null, mac), h("span", { class: "second" }, words))));
  /** @param {(typeof plan)[number]} one */
  const words = ({ machine, mode }) => describeBinding(app, mode, machine, findDisk(machine, machine.target_disk_serial));
  return confirm({
    title: writing.length ? `${plural(writing.length, "machine")} will be flashed` : `Arm ${plural(plan.length, "machine")}?`,
    wide: true,
    yes: `Arm ${plural(plan.length, "machine")}`,
    text: [
      writing.length > 0 && [
        note("warn", "At their next network boot these machines lose everything on these disks:"),
        list("Disks that will be overwritten", writing.map((one) => ({ mac: one.machine.mac, words: words(one) }))),
      ],
      others.length > 0 && [
        h("p", null, "These get their mode back too, but as they are now nothing is written:"),
        list("Machines whose disks stay", others.map((one) => ({ mac: one.machine.mac, words: `${words(one)}. ${sentence(one.why)}.` }))),
      ],
      left.length > 0 && [
        h("p", null, "Left out, since they wait no more:"),
        list("Machines that are left out", left.map(({ mac, why }) => ({ mac, words: `${sentence(why)}.` }))),
      ],
    ],
  });
}
