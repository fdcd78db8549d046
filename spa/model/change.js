// One change to many machines, and what it does to each of them, disk by disk. Pure.

import { consequence, findDisk, modeName } from "./machine.js";

/**
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../types.js").Disk} Disk
 * @typedef {"keep" | "only" | "smallest" | "largest" | "none"} DiskRule
 * @typedef {{boot_mode?: string, bty_image_ref?: string | null, target_disk_serial?: string | null, uefi_local_boot?: string}} Fields
 */

/** How the target disk of each machine is chosen; serials differ, so a rule stands for them. */
export const DISK_RULES = /** @type {[DiskRule, string][]} */ ([
  ["keep", "Leave as it is"],
  ["only", "The only disk, where there is just one"],
  ["smallest", "The smallest disk"],
  ["largest", "The largest disk"],
  ["none", "No disk"],
]);

const WAITING = "bty-inventory"; // the mode in which an import leaves what it would have flashed

/** @param {Disk} disk */
function isCandidate(disk) {
  return Boolean(disk.serial) && !disk.readonly && !disk.removable && disk.tran !== "usb";
}

/**
 * Return what *rule* makes of the target disk of a machine: the fields to change, empty where nothing changes.
 * @param {Machine} machine
 * @param {DiskRule} rule
 * @returns {Fields}
 */
export function chooseDisk(machine, rule) {
  if (rule === "keep") return {};
  if (rule === "none") return machine.target_disk_serial ? { target_disk_serial: null } : {};
  const disks = (machine.known_disks ?? []).filter(isCandidate);
  if (!disks.length || (rule === "only" && disks.length !== 1)) return {};
  const sorted = disks.every((disk) => disk.size_bytes) ? [...disks].sort((a, b) => (a.size_bytes ?? 0) - (b.size_bytes ?? 0)) : disks;
  if (rule !== "only" && disks.length > 1 && sorted === disks) return {}; // sizes unknown: nobody can say which is the smallest
  const chosen = rule === "largest" ? sorted[sorted.length - 1] : sorted[0];
  // Two disks with one serial cannot be told apart, and the flasher refuses them.
  if (disks.filter((disk) => disk.serial === chosen.serial).length > 1) return {};
  return chosen.serial === machine.target_disk_serial ? {} : { target_disk_serial: chosen.serial };
}

/**
 * Return the one request that makes a change, all of it or nothing; null where nothing is to be changed.
 * @param {{machine: Machine, own: Fields}[]} plan
 * @param {object} set what all get
 */
export function makeRequest(plan, set) {
  const each = plan.filter(({ own }) => Object.keys(own).length).map(({ machine, own }) => ({ mac: machine.mac, ...own }));
  const common = Object.keys(set).length ? { set, macs: plan.map(({ machine }) => machine.mac) } : {};
  return each.length || "set" in common ? { ...common, ...(each.length ? { each } : {}) } : null;
}

/**
 * Return for each machine what is changed by itself and what follows for its disk.
 * @param {Machine[]} machines
 * @param {Fields} fields what all get
 * @param {DiskRule} rule
 * @param {(ref: string) => boolean} isMissing whether the catalog is known to lack an image
 */
export function foresee(machines, fields, rule, isMissing) {
  return machines.map((machine) => {
    const own = chooseDisk(machine, rule);
    return { machine, own, ...consequence(machine, { ...fields, ...own }, isMissing) };
  });
}

/**
 * Return what giving machines their modes back does, which wait since an import: to each as it is bound now. Those that are gone
 * or wait no more are left out. The request holds what was foreseen, so that nothing else is armed if a machine is bound anew meanwhile.
 * @param {import("../api.js").Held[]} held
 * @param {Machine[]} machines as they are now
 * @param {(ref: string) => boolean} isMissing whether the catalog is known to lack an image
 */
export function armHeld(held, machines, isMissing) {
  const found = new Map(machines.map((machine) => [machine.mac, machine]));
  const plan = held.flatMap(({ mac, boot_mode: mode }) => {
    const machine = found.get(mac);
    return machine?.boot_mode === WAITING ? [{ machine, mode, ...consequence(machine, { boot_mode: mode }, isMissing) }] : [];
  });
  const left = held.flatMap(({ mac }) => {
    const mode = found.get(mac)?.boot_mode;
    return mode === WAITING ? [] : [{ mac, why: mode ? `its mode is “${modeName(mode)}” now` : "it was deleted" }];
  });
  const each = plan.map(({ machine, mode }) => ({
    mac: machine.mac,
    boot_mode: mode,
    bty_image_ref: machine.bty_image_ref,
    // The daemon refuses a disk that the machine has not reported where it is named.
    ...(findDisk(machine, machine.target_disk_serial) ? { target_disk_serial: machine.target_disk_serial } : {}),
  }));
  return { plan, left, request: { each } };
}
