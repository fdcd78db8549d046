// What a machine is to become: image, disk, mode, labels. A draft of one's own until it is saved.

import { send } from "../lib/api.js";
import { h } from "../lib/vdom.js";
import { imageName } from "../model/catalog.js";
import { bytes, sentence } from "../model/format.js";
import { LOCAL_BOOTS, MODES, consequence, describeDisk, diskName, findDisk, isFlashing, modeName, sizeOf, whyNotBindable } from "../model/machine.js";
import { card, field, note } from "./common.js";
import { confirm } from "./dialog.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../types.js").Disk} Disk
 * @typedef {{boot_mode: string, bty_image_ref: string, target_disk_serial: string, labels: string, sanboot_drive: string, uefi_local_boot: string}} Draft
 */

export class Assignment {
  /**
   * @param {App} app
   * @param {string} mac
   * @param {(machine: Machine) => void} onSaved
   */
  constructor(app, mac, onSaved) {
    this.app = app;
    this.mac = mac;
    this.onSaved = onSaved;
    /** @type {Partial<Draft>} */
    this.draft = {};
    /** @type {import("../lib/api.js").ApiError | null} */
    this.error = null;
    this.isSaving = false;
  }

  /**
   * What the form shows: the machine, with what was typed on top.
   * @param {Machine} machine
   * @returns {Draft}
   */
  current(machine) {
    return { ...stored(machine), ...this.draft };
  }

  /**
   * @param {keyof Draft} name
   * @param {string} value
   */
  set(name, value) {
    this.draft[name] = value;
    this.error = null;
    this.app.redraw();
  }

  /** @param {Machine} machine */
  changes(machine) {
    const before = stored(machine);
    const now = this.current(machine);
    /** @type {Record<string, any>} */
    const changes = {};
    for (const name of /** @type {(keyof Draft)[]} */ (Object.keys(before))) {
      if (before[name] === now[name]) continue;
      changes[name] = name === "labels" ? splitLabels(now.labels) : now[name] || null;
    }
    return changes;
  }

  /**
   * Tell whether something was changed here and not saved.
   * @param {Machine} machine
   */
  isEdited(machine) {
    return Object.keys(this.changes(machine)).length > 0;
  }

  /** @param {Machine} machine */
  async save(machine) {
    const changes = this.changes(machine);
    const asSent = { ...this.draft };
    const { writes, disk, serial } = consequence(machine, changes, (ref) => this.app.isMissing(ref));
    const touchesPolicy = ["boot_mode", "bty_image_ref", "target_disk_serial"].some((name) => name in changes);
    if (writes && touchesPolicy && !(await this.confirm(machine, { ...machine, ...changes }, disk, serial))) return;
    this.isSaving = true;
    this.app.redraw();
    try {
      const saved = await send("PATCH", `/machines/${this.mac}`, changes);
      // What was typed since then is still to be saved.
      for (const name of /** @type {(keyof Draft)[]} */ (Object.keys(asSent))) if (this.draft[name] === asSent[name]) delete this.draft[name];
      this.onSaved(saved);
      this.app.notify(`${this.mac} was saved.`);
    } catch (error) {
      this.error = /** @type {import("../lib/api.js").ApiError} */ (error);
    }
    this.isSaving = false;
    this.app.redraw();
  }

  /**
   * @param {Machine} machine
   * @param {Machine} next
   * @param {Disk | undefined} disk
   * @param {string | undefined} serial
   */
  confirm(machine, next, disk, serial) {
    const image = imageName(this.app.entry(next.bty_image_ref), next.bty_image_ref ?? "");
    return confirm({
      title: "This disk will be overwritten",
      yes: "Overwrite this disk",
      text: [
        h("p", null, "At its next network boot ", h("strong", null, machine.mac), " loses everything on"),
        h("p", { class: "target" }, h("strong", null, disk ? sentence(describeDisk(disk)) : `the disk with serial ${serial}`), disk ? h("span", { class: "second" }, disk.path) : h("span", { class: "second" }, "The machine has not reported this disk.")),
        h("p", null, "and gets ", h("strong", null, image), next.boot_mode === "bty-flash-always" ? ", then again at every second boot." : "."),
      ],
    });
  }

  /** @param {Machine} machine */
  view(machine) {
    const now = this.current(machine);
    const changes = this.changes(machine);
    const isDirty = this.isEdited(machine);
    const fate = consequence(machine, changes, (ref) => this.app.isMissing(ref));
    return card(
      "What it is to become",
      { id: "assignment" },
      h(
        "form",
        {
          class: "assignment",
          onsubmit: (/** @type {Event} */ event) => {
            event.preventDefault();
            this.save(machine);
          },
        },
        this.viewImage(now),
        this.viewDisk(machine, now),
        this.viewMode(now),
        field({ id: "labels", label: "Labels", help: "Words separated by commas; letters, digits, space and . _ -", problem: this.error?.of("labels") }, (attributes) =>
          h("input", { ...attributes, type: "text", autocomplete: "off", value: now.labels, oninput: (/** @type {any} */ event) => this.set("labels", event.target.value) }),
        ),
        h(
          "details",
          null,
          h("summary", null, "How the local disk is booted"),
          this.viewLocalBoot(now),
          field({ id: "sanboot_drive", label: "On BIOS: drive", help: "0x80, or nothing, is the first drive.", problem: this.error?.of("sanboot_drive") }, (attributes) =>
            h("input", { ...attributes, type: "text", autocomplete: "off", placeholder: "0x80", value: now.sanboot_drive, oninput: (/** @type {any} */ event) => this.set("sanboot_drive", event.target.value.trim()) }),
          ),
        ),
        this.error && note("bad", this.error.message),
        h("p", { class: "fate", role: "status" }, fateWords(now, fate, Boolean(machine.progress))),
        h(
          "div",
          { class: "form-actions" },
          h("button", { type: "submit", class: "primary", disabled: !isDirty || this.isSaving }, this.isSaving ? "Saving…" : "Save"),
          isDirty && h("button", { type: "button", class: "quiet", onclick: () => ((this.draft = {}), (this.error = null), this.app.redraw()) }, "Discard"),
          isDirty && h("span", { class: "muted" }, "Not saved yet"),
        ),
      ),
    );
  }

  /** @param {Draft} now */
  viewImage(now) {
    const entries = this.app.images.data;
    const isOrphan = entries && now.bty_image_ref && !this.app.entry(now.bty_image_ref);
    return [
      field({ id: "image", label: "Image", problem: this.error?.of("bty_image_ref") || (isOrphan ? "This image is no longer in the catalog. Choose another, or add it again." : "") }, (attributes) =>
        h(
          "select",
          { ...attributes, key: `of ${entries?.length ?? "none"}`, value: now.bty_image_ref, onchange: (/** @type {any} */ event) => this.set("bty_image_ref", event.target.value) },
          h("option", { value: "", key: "none" }, "No image"),
          (isOrphan || (!entries && now.bty_image_ref)) && h("option", { value: now.bty_image_ref, key: "orphan" }, now.bty_image_ref.slice(0, 12)),
          (entries ?? []).map((entry) => h("option", { key: entry.bty_image_ref, value: entry.bty_image_ref }, imageLine(entry))),
        ),
      ),
      entries?.length === 0 && h("p", { class: "help", key: "add" }, "The catalog is empty. ", h("a", { href: "/ui/images" }, "Add an image first.")),
    ];
  }

  /**
   * @param {Machine} machine
   * @param {Draft} now
   */
  viewDisk(machine, now) {
    const disks = machine.known_disks ?? [];
    const isReported = !now.target_disk_serial || findDisk(machine, now.target_disk_serial);
    /** @type {(value: string, title: import("../lib/vdom.js").Child, second: string, why?: string) => import("../lib/vdom.js").Child} */
    const option = (value, title, second, why = "") =>
      h(
        "label",
        { class: `option ${why ? "off" : ""}`, key: `disk ${value || second}` },
        h("input", { type: "radio", name: "disk", value, disabled: Boolean(why), checked: !why && now.target_disk_serial === value, onchange: () => this.set("target_disk_serial", value) }),
        h("span", null, title, h("span", { class: "second" }, [second, why].filter(Boolean).join(" · "))),
      );
    return h(
      "fieldset",
      { class: "field", key: "disk" },
      h("legend", null, "Target disk"),
      option("", "No disk", ""),
      disks.map((disk) => option(disk.serial ?? "", h("strong", null, sentence(diskName(disk)), " ", sizeOf(disk)), diskLine(disk), whyNotBindable(disk))),
      !isReported && option(now.target_disk_serial, h("strong", null, `Serial ${now.target_disk_serial}`), "The machine has not reported this disk."),
      !machine.known_disks &&
        field({ id: "serial", label: "Serial of the disk", help: "The machine has not reported its disks yet. Boot it once in the mode Inventory, or type the serial.", problem: this.error?.of("target_disk_serial") }, (attributes) =>
          h("input", { ...attributes, type: "text", autocomplete: "off", value: now.target_disk_serial, oninput: (/** @type {any} */ event) => this.set("target_disk_serial", event.target.value.trim()) }),
        ),
      machine.known_disks && disks.length === 0 && h("p", { class: "help" }, "The machine reported that it has no disk."),
    );
  }

  /** @param {Draft} now */
  viewLocalBoot(now) {
    return field({ id: "uefi_local_boot", label: "On UEFI", help: "Firmware differs: where the disk does not boot after bty, try another way.", problem: this.error?.of("uefi_local_boot") }, (attributes) =>
      h(
        "select",
        { ...attributes, value: now.uefi_local_boot, onchange: (/** @type {any} */ event) => this.set("uefi_local_boot", event.target.value) },
        LOCAL_BOOTS.map(([way, words]) => h("option", { key: way, value: way }, words)),
      ),
    );
  }

  /** @param {Draft} now */
  viewMode(now) {
    return h(
      "fieldset",
      { class: "field", key: "mode" },
      h("legend", null, "What a boot does"),
      MODES.map(({ mode, name, what }) =>
        h(
          "label",
          { class: "option", key: mode },
          h("input", { type: "radio", name: "mode", value: mode, checked: now.boot_mode === mode, onchange: () => this.set("boot_mode", mode) }),
          h("span", null, h("strong", null, name), h("span", { class: "second" }, what)),
        ),
      ),
      !MODES.some(({ mode }) => mode === now.boot_mode) && h("p", { class: "help" }, `It has the mode ${now.boot_mode}, which this version does not know.`),
    );
  }
}

/**
 * @param {Draft} now
 * @param {ReturnType<typeof consequence>} fate
 * @param {boolean} isRunning a flash runs at this moment
 */
function fateWords(now, fate, isRunning) {
  const running = isRunning && [h("strong", null, "A flash is running now."), " "];
  if (fate.writes) {
    const disk = fate.disk ? describeDisk(fate.disk) : `the disk with serial ${fate.serial}`;
    if (fate.isLater) return [running, "Its next network boot starts the disk, which is flashed. ", h("strong", null, "The boot after that overwrites "), disk, "."];
    return isRunning ? [running, `If it booted from the network now, that boot would overwrite ${disk}.`] : [h("strong", null, "Its next network boot overwrites "), disk, "."];
  }
  const why = isFlashing(now.boot_mode) ? fate.why : `the mode is “${modeName(now.boot_mode)}”`;
  if (isRunning) return [running, `If it booted from the network now, that boot would write nothing: ${why}.`];
  return isFlashing(now.boot_mode) ? `It will not be flashed: ${why}.` : `${modeName(now.boot_mode)}: no disk is written.`;
}

/**
 * @param {Machine} machine
 * @returns {Draft}
 */
function stored(machine) {
  return {
    boot_mode: machine.boot_mode,
    bty_image_ref: machine.bty_image_ref ?? "",
    target_disk_serial: machine.target_disk_serial ?? "",
    labels: machine.labels.join(", "),
    sanboot_drive: machine.sanboot_drive ?? "",
    uefi_local_boot: machine.uefi_local_boot ?? "chain",
  };
}

/** @param {string} text */
export function splitLabels(text) {
  const seen = new Map(text.split(",").map((word) => word.trim()).filter(Boolean).map((word) => [word.toLowerCase(), word]));
  return [...seen.values()];
}

/** @param {import("../types.js").Entry} entry */
function imageLine(entry) {
  const size = entry.size_bytes ? bytes(entry.size_bytes) : "";
  return [entry.name, entry.format, size].filter(Boolean).join(" · ");
}

/** @param {Disk} disk */
function diskLine(disk) {
  const use = disk.in_use?.length ? `in use: ${disk.in_use.join(", ")}` : "";
  return sentence([disk.serial && `serial ${disk.serial}`, disk.path, disk.tran, disk.removable && "removable", use].filter(Boolean).join(" · "));
}
