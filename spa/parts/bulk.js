// What is done to many machines at once: one question that says exactly which machines lose which disk.

import { get, query, send } from "../lib/api.js";
import { h } from "../lib/vdom.js";
import { DISK_RULES, foresee, makeRequest } from "../model/change.js";
import { plural, sentence } from "../model/format.js";
import { LOCAL_BOOTS, MODES, describeDisk, modeName } from "../model/machine.js";
import { field, note } from "./common.js";
import { confirm, openDialog } from "./dialog.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../model/change.js").DiskRule} DiskRule
 * @typedef {import("../model/change.js").Fields} Fields
 * @typedef {{fields: Fields, rule: DiskRule, labels: string[] | null}} Wish
 */

const ONE_BY_ONE_MAX = 20;
const PAGE = 500;

/**
 * Return the machines with these MACs as they are now; those that are gone are left out.
 * @param {string[]} macs
 * @returns {Promise<Machine[]>}
 */
async function fetchMachines(macs) {
  if (macs.length <= ONE_BY_ONE_MAX) {
    const answers = await Promise.allSettled(macs.map((mac) => get(`/machines/${mac}`)));
    return answers.flatMap((answer) => {
      if (answer.status === "fulfilled") return [answer.value];
      if (answer.reason.status === 404) return [];
      throw answer.reason;
    });
  }
  const wanted = new Set(macs);
  /** @type {Machine[]} */
  const found = [];
  for (let page = 1, total = 1; (page - 1) * PAGE < total; page += 1) {
    const answer = await get(`/machines${query({ page, per_page: PAGE })}`);
    total = answer.total;
    found.push(...answer.items.filter((/** @type {Machine} */ machine) => wanted.has(machine.mac)));
  }
  return found;
}

/**
 * Ask what to change on *macs*, then whether to, then do it. Returns whether anything was changed.
 * @param {App} app
 * @param {string[]} macs
 */
export async function askToChange(app, macs) {
  const wish = await askForWish(app, macs);
  if (!wish) return false;
  try {
    const machines = await fetchMachines(macs);
    if (!machines.length) throw new Error("None of these machines exists any more.");
    const plan = foresee(machines, wish.fields, wish.rule, (ref) => app.isMissing(ref));
    if (!(await confirmPlan(app, plan, wish))) return false;
    const change = makeRequest(plan, { ...wish.fields, ...(wish.labels ? { labels: wish.labels } : {}) });
    if (!change) app.notify("Nothing is to be changed: the machines are like that already.", "info");
    else app.notify(`${plural((await send("POST", "/machines/bulk", change)).changed, "machine")} changed.`);
    return true;
  } catch (error) {
    await tellRefusal(/** @type {import("../lib/api.js").ApiError} */ (error));
    return false;
  }
}

/**
 * Say why nothing was changed, machine by machine where that is the reason.
 * @param {import("../lib/api.js").ApiError | Error} error
 */
function tellRefusal(error) {
  const problems = "problems" in error ? error.problems : [];
  return openDialog("Nothing was changed", ({ close }) => [
    h(
      "div",
      { class: "dialog-body" },
      problems.length
        ? [
            note("bad", "All machines are changed together or none is. These stand in the way:"),
            h("ul", { class: "losses", tabindex: "0", "aria-label": "Machines that stand in the way" }, problems.map(({ msg }, index) => h("li", { key: index }, msg))),
          ]
        : note("bad", error.message),
    ),
    h("div", { class: "dialog-actions" }, h("button", { type: "button", autofocus: true, onclick: () => close(null) }, "Close")),
  ]);
}

/**
 * @param {App} app
 * @param {string[]} macs
 * @returns {Promise<Wish | null>}
 */
function askForWish(app, macs) {
  let problem = "";
  return openDialog(`Change ${plural(macs.length, "machine")}`, ({ close, redraw }) => {
    /** @param {SubmitEvent} event */
    const submit = (event) => {
      event.preventDefault();
      const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
      /** @param {string} name */
      const value = (name) => String(form.get(name) ?? "");
      /** @type {Fields} */
      const fields = {};
      if (value("bulk-mode")) fields.boot_mode = value("bulk-mode");
      if (value("bulk-image")) fields.bty_image_ref = value("bulk-image") === "none" ? null : value("bulk-image");
      if (value("bulk-uefi")) fields.uefi_local_boot = value("bulk-uefi");
      const labels = form.get("bulk-relabel") ? value("bulk-labels").split(",").map((word) => word.trim()).filter(Boolean) : null;
      const rule = /** @type {DiskRule} */ (value("bulk-disk"));
      if (!Object.keys(fields).length && rule === "keep" && labels === null) {
        problem = "Nothing is chosen to change yet.";
        redraw();
      } else close({ fields, rule, labels });
    };
    const images = app.images.data ?? [];
    return h(
      "form",
      { onsubmit: submit },
      h(
        "div",
        { class: "dialog-body" },
        field({ id: "bulk-mode", label: "Boot mode" }, (attributes) =>
          h("select", { ...attributes, autofocus: true }, h("option", { value: "" }, "Leave as it is"), MODES.map(({ mode, name }) => h("option", { key: mode, value: mode }, name))),
        ),
        field({ id: "bulk-image", label: "Image" }, (attributes) =>
          h("select", attributes, h("option", { value: "" }, "Leave as it is"), images.map((entry) => h("option", { key: entry.bty_image_ref, value: entry.bty_image_ref }, entry.name)), h("option", { value: "none" }, "No image")),
        ),
        field({ id: "bulk-disk", label: "Target disk", help: "USB, removable and read-only disks and disks without a serial are never chosen by a rule." }, (attributes) =>
          h("select", attributes, DISK_RULES.map(([rule, words]) => h("option", { key: rule, value: rule }, words))),
        ),
        field({ id: "bulk-uefi", label: "Local disk on UEFI" }, (attributes) =>
          h("select", attributes, h("option", { value: "" }, "Leave as it is"), LOCAL_BOOTS.map(([way, words]) => h("option", { key: way, value: way }, words))),
        ),
        h("div", { class: "field" },
          h("label", { class: "choice" }, h("input", { type: "checkbox", name: "bulk-relabel" }), " Replace all labels with:"),
          h("input", { type: "text", name: "bulk-labels", "aria-label": "New labels, separated by commas", placeholder: "rack-1, ci", autocomplete: "off" }),
        ),
        problem && note("bad", problem),
      ),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Next: see what happens"),
      ),
    );
  });
}

/**
 * @param {App} app
 * @param {ReturnType<typeof foresee>} plan
 * @param {Wish} wish
 */
function confirmPlan(app, plan, wish) {
  const writing = plan.filter(({ writes }) => writes);
  const others = plan.filter(({ writes }) => !writes);
  const words = [
    wish.fields.boot_mode && `mode “${modeName(wish.fields.boot_mode)}”`,
    wish.fields.bty_image_ref && `image “${app.entry(wish.fields.bty_image_ref)?.name ?? wish.fields.bty_image_ref}”`,
    wish.fields.bty_image_ref === null && "no image",
    wish.rule !== "keep" && `target disk: ${DISK_RULES.find(([rule]) => rule === wish.rule)?.[1].toLowerCase()}`,
    wish.fields.uefi_local_boot && `local disk on UEFI: ${wish.fields.uefi_local_boot}`,
    wish.labels && (wish.labels.length ? `labels ${wish.labels.join(", ")}` : "no labels"),
  ].filter(Boolean);
  return confirm({
    title: writing.length ? `${plural(writing.length, "disk")} will be overwritten` : `Change ${plural(plan.length, "machine")}?`,
    wide: true,
    dangerous: writing.length > 0,
    yes: writing.length ? `Overwrite ${plural(writing.length, "disk")}` : "Change",
    text: [
      h("p", null, `${plural(plan.length, "machine")}: ${words.join(", ") || "start over"}.`),
      writing.length > 0 && [
        note("warn", `At their ${writing.some(({ isLater }) => isLater) ? "coming network boots" : "next network boot"} these machines lose everything on these disks:`),
        h(
          "ul",
          { class: "losses", tabindex: "0", "aria-label": "Disks that will be overwritten" },
          writing.map(({ machine, disk, serial, isLater }) =>
            h("li", { key: machine.mac }, h("code", null, machine.mac), machine.labels.length > 0 && ` (${machine.labels.join(", ")})`, h("span", { class: "second" }, disk ? sentence(`${describeDisk(disk)}, ${disk.path}`) : `Serial ${serial}, which the machine has not reported`), isLater && h("span", { class: "second" }, "Its next boot starts the disk, which is flashed; the boot after that overwrites it.")),
          ),
        ),
      ],
      others.length > 0 && [
        h("p", null, writing.length ? `Nothing is written on ${plural(others.length, "other machine")}:` : "No disk is written:"),
        h("ul", { class: "losses", tabindex: "0", "aria-label": "Machines whose disks stay" }, others.map(({ machine, why }) => h("li", { key: machine.mac }, h("code", null, machine.mac), h("span", { class: "second" }, `${sentence(why)}.`)))),
      ],
    ],
  });
}

/**
 * @param {App} app
 * @param {string[]} macs
 */
export async function askToReset(app, macs) {
  let machines;
  try {
    machines = await fetchMachines(macs);
  } catch (error) {
    app.notify(/** @type {Error} */ (error).message, "bad");
    return false;
  }
  // Starting over makes a machine that was flashed once flash again.
  const plan = foresee(machines.map((machine) => ({ ...machine, cycle_state: null })), {}, "keep", (ref) => app.isMissing(ref));
  if (!(await confirmPlan(app, plan, { fields: {}, rule: "keep", labels: null }))) return false;
  return doToMany(app, "reset", machines.map(({ mac }) => mac), "started over");
}

/**
 * @param {App} app
 * @param {string[]} macs
 */
export async function askToDelete(app, macs) {
  const agreed = await confirm({
    title: `Forget ${plural(macs.length, "machine")}?`,
    yes: `Delete ${plural(macs.length, "machine")}`,
    text: [
      h("p", null, "Their records go: mode, image, disk, labels and hardware. Their disks are not touched. One that boots from the network again comes back as a new machine."),
      h("ul", { class: "losses", tabindex: "0", "aria-label": "Machines to delete" }, macs.map((mac) => h("li", { key: mac }, h("code", null, mac)))),
    ],
  });
  return agreed && doToMany(app, "delete", macs, "deleted");
}

/**
 * Do something to all of these machines, or to none, and tell how it went.
 * @param {App} app
 * @param {"reset" | "delete"} deed
 * @param {string[]} macs
 * @param {string} done
 */
async function doToMany(app, deed, macs, done) {
  try {
    const { changed } = await send("POST", "/machines/bulk", { do: deed, macs });
    app.notify(`${plural(changed, "machine")} ${done}.`);
    return true;
  } catch (error) {
    await tellRefusal(/** @type {Error} */ (error));
    return false;
  }
}
