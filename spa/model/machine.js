// What a machine's record means to an operator: its modes, its disks, its flash. Pure.

import { bytes, diskSize, duration, rate } from "./format.js";

/**
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {import("../types.js").Disk} Disk
 * @typedef {import("../types.js").Progress} Progress
 * @typedef {Pick<Machine, "boot_mode" | "bty_image_ref" | "target_disk_serial">} Policy
 */

/** The modes, in the order in which they are offered. */
export const MODES = [
  { mode: "ipxe-exit", name: "Boot the disk", flashes: false, what: "Every boot starts the local disk. Nothing is written." },
  { mode: "bty-flash-once", name: "Flash once", flashes: true, what: "The next boot writes the image; from then on the disk boots, until mode, image or disk changes." },
  { mode: "bty-flash-always", name: "Flash always", flashes: true, what: "A boot writes the image and then starts the disk; the boot after that writes it again." },
  { mode: "bty-tui", name: "Wizard", flashes: false, what: "Every boot starts the live environment, and a person at the machine chooses." },
  { mode: "bty-inventory", name: "Inventory", flashes: false, what: "A boot reports the hardware and then starts the disk. Nothing is written." },
];

/** How the local disk is booted on UEFI; the words end with the value that the API and the manual know. */
export const LOCAL_BOOTS = [
  ["chain", "Find the disk's loader and start it (chain)"],
  ["exit-nonzero", "Go back to the firmware with an error (exit-nonzero)"],
  ["exit", "Go back to the firmware without an error (exit)"],
];

const STAGES = /** @type {Record<string, string>} */ ({ open: "Opening", write: "Writing", verify: "Reading back", finish: "Finishing" });

// Which steps of a boot cycle run in each stage of a flash, as in bty/model/timeline.py.
const RUNNING = /** @type {Record<string, string[]>} */ ({ open: ["download"], write: ["download", "write"], verify: ["verify"], finish: ["done"] });
const PCI_VENDOR = /^0x[0-9a-f]{4}$/i; // what Linux says of a disk that has no name of its own
const VIRTIO = "0x1af4";

/** @param {string} mode */
export function modeName(mode) {
  return MODES.find((known) => known.mode === mode)?.name ?? mode;
}

/** @param {string} mode */
export function isFlashing(mode) {
  return mode === "bty-flash-once" || mode === "bty-flash-always";
}

/** @param {string} mac */
export function machinePath(mac) {
  return `/ui/machines/${mac.replaceAll(":", "-")}`;
}

/**
 * Return the reported disk that *serial* names, or undefined.
 * @param {Machine} machine
 * @param {string | null} serial
 */
export function findDisk(machine, serial) {
  return serial ? (machine.known_disks ?? []).find((disk) => disk.serial === serial) : undefined;
}

/**
 * Return what a disk calls itself: vendor and model. A bare number of a PCI vendor is no name.
 * @param {Disk} disk
 */
export function diskName(disk) {
  const named = [disk.vendor, disk.model].filter((word) => word && !PCI_VENDOR.test(word)).join(" ");
  if (named) return named;
  return disk.vendor?.toLowerCase() === VIRTIO || disk.tran === "virtio" ? "virtio disk" : "unknown model";
}

/**
 * Return a disk in one line: model, size, serial.
 * @param {Disk} disk
 */
export function describeDisk(disk) {
  return [diskName(disk), sizeOf(disk), disk.serial ? `serial ${disk.serial}` : "no serial"].filter(Boolean).join(", ");
}

/** @param {Disk} disk */
export function sizeOf(disk) {
  return disk.size_bytes ? diskSize(disk.size_bytes) : (disk.size ?? "");
}

/**
 * Return why a disk cannot be bound, or nothing.
 * @param {Disk} disk
 */
export function whyNotBindable(disk) {
  if (!disk.serial) return "It reports no serial, so it cannot be told apart.";
  if (disk.readonly) return "It is read-only.";
  return "";
}

/**
 * Return what a progress says, ready to be shown. `percent` is null where the total is unknown.
 * @param {Progress} progress
 */
export function readProgress(progress) {
  const total = progress.total ?? 0;
  const percent = total > 0 ? Math.min(100, Math.floor((progress.bytes * 100) / total)) : null;
  const left = total > 0 && progress.rate ? (total - progress.bytes) / progress.rate : null;
  return {
    stage: STAGES[progress.stage] ?? progress.stage,
    percent,
    amount: total > 0 ? `${bytes(progress.bytes)} of ${bytes(total)}` : bytes(progress.bytes),
    rate: rate(progress.rate),
    left: left !== null && left >= 0 ? `${duration(left)} left` : "",
    trouble: progress.trouble ? `waiting: ${progress.trouble}` : "",
  };
}

/**
 * Return the steps of a boot cycle as they are now: those that *progress* tells of are newer than the answer they came with.
 * A cycle that stopped stays as the daemon says.
 * @template {{stage: string, state: string, at: string | null, detail: string}} Step
 * @param {{stages: Step[], stopped: object | null}} line
 * @param {Progress | null} progress
 * @returns {Step[]}
 */
export function runningSteps({ stages, stopped }, progress) {
  if (!progress || stopped) return stages;
  const now = readProgress(progress);
  const detail = [now.percent !== null && `${now.percent} %`, progress.bytes > 0 && now.amount, now.trouble].filter(Boolean).join(", ");
  return stages.map((step) => {
    if (RUNNING[progress.stage]?.includes(step.stage)) return { ...step, state: "running", at: progress.at, detail };
    return step.state === "running" ? { ...step, state: "done", detail: "" } : step; // the flash has gone on since
  });
}

/**
 * Return what saving *change* does to the disk of a machine: `writes` with the disk, or why nothing is written.
 * `isLater` says that the next boot still starts the disk, and that the one after it writes.
 * @param {Machine} machine
 * @param {Partial<Policy>} change
 * @param {(ref: string) => boolean} isMissing whether the catalog is known to lack an image
 * @returns {{writes: boolean, isLater?: boolean, disk?: Disk, serial?: string, why: string}}
 */
export function consequence(machine, change, isMissing) {
  const next = { ...machine, ...change };
  const serial = next.target_disk_serial || "";
  if (!isFlashing(next.boot_mode)) return { writes: false, why: "nothing is written in this mode" };
  if (!next.bty_image_ref) return { writes: false, why: "it has no image" };
  if (isMissing(next.bty_image_ref)) return { writes: false, why: "its image is not in the catalog" };
  if (!serial) return { writes: false, why: "it has no target disk" };
  const disk = findDisk(machine, serial);
  const isSame = /** @type {const} */ (["boot_mode", "bty_image_ref", "target_disk_serial"]).every((name) => (machine[name] || "") === (next[name] || ""));
  const isDone = isSame && machine.cycle_state === "completed";
  if (isDone && next.boot_mode === "bty-flash-once") return { writes: false, disk, serial, why: "it was flashed already" };
  return { writes: true, isLater: isDone, disk, serial, why: "" };
}

/**
 * Return the state of a machine as a word for a badge: its kind decides the colour.
 * @param {Machine} machine
 * @returns {{kind: "good" | "busy" | "bad" | "wait" | "none", text: string}}
 */
export function stateOf(machine) {
  const text = machine.boot_state;
  if (machine.progress) return { kind: "busy", text: readProgress(machine.progress).stage.toLowerCase() };
  if (machine.flash_error) return { kind: "bad", text: "flash failed" };
  if (!text) return { kind: "none", text: "" };
  if (text.startsWith("live env")) return { kind: "busy", text };
  if (text.startsWith("flashed") || text.startsWith("inventoried")) return { kind: "good", text };
  return { kind: "wait", text };
}

/**
 * Tell whether a machine belongs to a view of the table, as the daemon would; `null` where only it can tell.
 * @param {Machine} machine
 * @param {{q: string, filter: string, label: string}} view
 */
export function belongs(machine, { q, filter, label }) {
  if (filter === "discovered" && machine.bty_image_ref) return false;
  if (filter === "assigned" && !machine.bty_image_ref) return false;
  if (filter === "failed" && machine.flash_error === null) return false;
  if (filter === "flashing" && !machine.progress) return false;
  if (label && !machine.labels.includes(label)) return false;
  const text = q.trim().toLowerCase();
  if (!text) return true;
  const words = [machine.mac, machine.bty_image_ref ?? "", machine.last_seen_ip ?? "", ...machine.labels];
  return machine.mac.includes(text.replaceAll("-", ":")) || words.some((word) => word.toLowerCase().includes(text));
}

/**
 * Compare two machines as the daemon sorts them.
 * @param {string} sort
 * @param {string} dir
 */
export function order(sort, dir) {
  const way = dir === "desc" ? -1 : 1;
  /** @param {Machine} machine */
  const key = (machine) => String(/** @type {any} */ (machine)[sort === "last_flashed_at" ? "flashed_at" : sort] ?? "");
  /** @type {(a: Machine, b: Machine) => number} */
  return (a, b) => way * (compare(key(a), key(b)) || compare(a.mac, b.mac));
}

/** @type {(a: string, b: string) => number} */
function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
