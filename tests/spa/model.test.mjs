// What numbers, machines, changes and hardware mean: the pure part of the application.
import assert from "node:assert/strict";
import { test } from "node:test";

import { armHeld, chooseDisk, foresee, makeRequest } from "../../spa/model/change.js";
import { rangeOf, readChoice, writeChoice } from "../../spa/model/choice.js";
import { ago, bytes, diskSize, duration, plural, rate, sentence } from "../../spa/model/format.js";
import { highlights } from "../../spa/model/hardware.js";
import { belongs, consequence, describeDisk, diskName, order, readProgress, runningSteps, stateOf, whyNotBindable } from "../../spa/model/machine.js";
import { addLines } from "../../spa/model/tail.js";
import { readSelection, writeSelection } from "../../spa/pages/machines.js";
import { splitLabels } from "../../spa/parts/assignment.js";
import { disk, machine } from "./make.mjs";

const REF = "a".repeat(64);
const isMissing = (ref) => ref !== REF;
test("sizes and rates have three digits and binary units", () => {
  assert.deepEqual([0, 999, 1023, 1536, 15032385536].map(bytes), ["0 B", "999 B", "0.999 KiB", "1.50 KiB", "14.0 GiB"]);
  assert.equal(bytes(null), "unknown");
  assert.equal(rate(250e6), "238 MiB/s");
  assert.equal(rate(null), "");
});

test("disks are told in the units of their labels", () => {
  assert.deepEqual([960197124096, 4000787030016, 0].map(diskSize), ["960 GB", "4.0 TB", ""]);
});

test("durations and ages are short", () => {
  assert.deepEqual([0, 59.6, 200, 3600, 7500, 400000].map(duration), ["0 s", "1 min", "3 min 20 s", "1 h", "2 h 5 min", "4 d"]);
  const now = Date.parse("2026-01-01T12:00:00Z");
  const at = (seconds) => ago(new Date(now - seconds * 1000).toISOString(), now);
  assert.deepEqual([3, 47, 130, 7300].map(at), ["just now", "40 s ago", "2 min ago", "2 h 1 min ago"]);
  assert.equal(ago(null), "never");
  assert.deepEqual([plural(1, "disk"), plural(2, "disk")], ["1 disk", "2 disks"]);
  assert.deepEqual(["if the flash succeeds", ""].map(sentence), ["If the flash succeeds", ""]);
});

test("progress tells percent and time left where the total is known", () => {
  const known = readProgress({ stage: "write", bytes: 50, total: 200, rate: 10, at: "" });
  assert.deepEqual([known.stage, known.percent, known.left], ["Writing", 25, "15 s left"]);
  const open = readProgress({ stage: "strange", bytes: 2048, total: null, rate: null, at: "" });
  assert.deepEqual([open.stage, open.percent, open.amount, open.left], ["strange", null, "2.00 KiB", ""]);
  assert.deepEqual([known.trouble, readProgress({ ...known, bytes: 5, total: 10, trouble: "Connection refused" }).trouble], ["", "waiting: Connection refused"]);
});

test("what a change does to a disk", () => {
  const bound = machine(1, { boot_mode: "bty-flash-once", bty_image_ref: REF, target_disk_serial: "S", known_disks: [disk("S")] });
  assert.equal(consequence(bound, {}, isMissing).writes, true);
  assert.equal(consequence(bound, {}, isMissing).disk.serial, "S");
  assert.match(consequence({ ...bound, cycle_state: "completed" }, {}, isMissing).why, /flashed already/);
  assert.equal(consequence({ ...bound, cycle_state: "completed" }, { boot_mode: "bty-flash-always" }, isMissing).writes, true);
  const again = { ...bound, boot_mode: "bty-flash-always", cycle_state: "completed" };
  assert.deepEqual([again, { ...again, cycle_state: "armed" }].map((one) => consequence(one, {}, isMissing)).map(({ writes, isLater }) => [writes, isLater]), [[true, true], [true, false]]);
  assert.equal(consequence(again, { target_disk_serial: "T" }, isMissing).isLater, false);
  assert.match(consequence(bound, { boot_mode: "ipxe-exit" }, isMissing).why, /this mode/);
  assert.match(consequence(bound, { bty_image_ref: null }, isMissing).why, /no image/);
  assert.match(consequence(bound, { bty_image_ref: "b".repeat(64) }, isMissing).why, /not in the catalog/);
  assert.match(consequence(bound, { target_disk_serial: null }, isMissing).why, /no target disk/);
});

test("a rule chooses a disk only where there is no doubt", () => {
  const two = machine(1, { known_disks: [disk("BIG", 4e12), disk("SMALL", 1e12), disk("STICK", 1e9, { tran: "usb" }), disk(null, 1e9), disk("RO", 1, { readonly: true })] });
  assert.deepEqual(chooseDisk(two, "smallest"), { target_disk_serial: "SMALL" });
  assert.deepEqual(chooseDisk(two, "largest"), { target_disk_serial: "BIG" });
  assert.deepEqual(chooseDisk(two, "only"), {});
  assert.deepEqual(chooseDisk(two, "keep"), {});
  assert.deepEqual(chooseDisk(machine(1), "smallest"), {});
  assert.deepEqual(chooseDisk(machine(1, { known_disks: [disk("ONE")] }), "only"), { target_disk_serial: "ONE" });
  assert.deepEqual(chooseDisk(machine(1, { known_disks: [disk("ONE")], target_disk_serial: "ONE" }), "only"), {});
  assert.deepEqual(chooseDisk(machine(1, { known_disks: [disk("A", undefined), disk("B", undefined)].map((one) => ({ ...one, size_bytes: undefined })) }), "smallest"), {});
  assert.deepEqual(chooseDisk(machine(1, { known_disks: [disk("SAME"), disk("SAME")] }), "smallest"), {});
  assert.deepEqual(chooseDisk(machine(1, { target_disk_serial: "X" }), "none"), { target_disk_serial: null });
});

test("a change of many tells for each what follows", () => {
  const plan = foresee([machine(1, { known_disks: [disk("ONE")] }), machine(2)], { boot_mode: "bty-flash-once", bty_image_ref: REF }, "only", isMissing);
  assert.deepEqual(plan.map(({ writes, serial }) => [writes, serial]), [[true, "ONE"], [false, undefined]]);
});

test("machines that wait since an import are armed as they are bound now, and only those that still wait", () => {
  const held = [1, 2, 3, 4].map((number) => ({ mac: machine(number).mac, boot_mode: "bty-flash-always", bty_image_ref: "b".repeat(64), target_disk_serial: "OLD" }));
  const now = [
    machine(1, { bty_image_ref: REF, target_disk_serial: "NEW", known_disks: [disk("NEW")] }),
    machine(2, { bty_image_ref: REF, target_disk_serial: "UNREPORTED", known_disks: [disk("NEW")] }),
    machine(3, { bty_image_ref: REF, target_disk_serial: "NEW", boot_mode: "ipxe-exit" }),
  ];
  const { plan, left, request } = armHeld(held, now, isMissing);
  assert.deepEqual(plan.map(({ machine: { mac }, mode, writes, serial }) => [mac.at(-1), mode, writes, serial]), [["1", "bty-flash-always", true, "NEW"], ["2", "bty-flash-always", true, "UNREPORTED"]]);
  assert.deepEqual(left, [{ mac: held[2].mac, why: "its mode is “Boot the disk” now" }, { mac: held[3].mac, why: "it was deleted" }]);
  assert.deepEqual(request, { each: [
    { mac: held[0].mac, boot_mode: "bty-flash-always", bty_image_ref: REF, target_disk_serial: "NEW" },
    { mac: held[1].mac, boot_mode: "bty-flash-always", bty_image_ref: REF },
  ] });
});

test("a machine belongs to a view as the daemon would say", () => {
  const one = machine(7, { labels: ["Rack-1"], last_seen_ip: "192.0.2.1" });
  const view = (more) => ({ q: "", filter: "", label: "", ...more });
  assert.ok(belongs(one, view({ q: "52-54-00" })) && belongs(one, view({ q: "RACK" })) && belongs(one, view({ q: "192.0" })) && belongs(one, view({ filter: "discovered" })));
  assert.ok(!belongs(one, view({ q: "nix" })) && !belongs(one, view({ filter: "assigned" })) && !belongs(one, view({ label: "rack-1" })) && !belongs(one, view({ filter: "flashing" })));
  assert.ok(belongs(one, view({ label: "Rack-1" })));
});

test("machines are ordered as the daemon orders them: none first, the MAC decides", () => {
  const list = [machine(3, { last_seen_at: "2" }), machine(1), machine(2, { last_seen_at: "2" })];
  const macs = (sort, dir) => [...list].sort(order(sort, dir)).map(({ mac }) => Number(mac.slice(-2)));
  assert.deepEqual(macs("last_seen_at", "asc"), [1, 2, 3]);
  assert.deepEqual(macs("last_seen_at", "desc"), [3, 2, 1]);
});

test("states and disks are words", () => {
  assert.equal(stateOf(machine(1, { flash_error: "x" })).kind, "bad");
  assert.equal(stateOf(machine(1, { boot_state: "flashed; booting disk" })).kind, "good");
  assert.equal(describeDisk(disk("S", 960e9, { vendor: "V" })), "V M, 960 GB, serial S");
  assert.equal(describeDisk({ ...disk(null), model: null, size_bytes: undefined, size: "1T" }), "unknown model, 1T, no serial");
  assert.match(whyNotBindable(disk(null)), /no serial/);
});

test("a number of a PCI vendor is not shown as the name of a disk", () => {
  const named = (vendor, model, tran = null) => diskName(disk("S", 1e9, { vendor, model, tran }));
  assert.deepEqual([named("0x1af4", null), named("0x1AF4", "VBOX"), named("0x8086", null), named(null, null, "virtio")], ["virtio disk", "VBOX", "unknown model", "virtio disk"]);
  assert.equal(describeDisk(disk("BTYTEST", 2.1e9, { vendor: "0x1af4", model: null, tran: null })), "virtio disk, 2.1 GB, serial BTYTEST");
});

test("the steps that a progress tells of are as far as it says", () => {
  const step = (stage, state) => ({ stage, state, at: null, detail: "" });
  const line = { stages: [step("plan", "done"), step("download", "running"), step("write", "pending"), step("verify", "pending"), step("done", "pending")], stopped: null };
  const states = (stage, bytes, total) => runningSteps(line, { stage, bytes, total, rate: null, at: "now" }).filter(({ state }) => state === "running").map((one) => `${one.stage}: ${one.detail}`);
  assert.deepEqual(states("open", 0, null), ["download: "]);
  assert.deepEqual(states("write", 3072, 4096), ["download: 75 %, 3.00 KiB of 4.00 KiB", "write: 75 %, 3.00 KiB of 4.00 KiB"]);
  assert.deepEqual(states("write", 2048, null), ["download: 2.00 KiB", "write: 2.00 KiB"]);
  assert.equal(runningSteps(line, { stage: "verify", bytes: 1, total: 2, rate: null, trouble: "the disk is silent", at: "now" })[3].detail, "50 %, 1 B of 2 B, waiting: the disk is silent");
  assert.equal(runningSteps(line, { stage: "verify", bytes: 1, total: 2, rate: null, at: "now" })[3].detail, "50 %, 1 B of 2 B");
  assert.equal(runningSteps(line, { stage: "verify", bytes: 1, total: 2, rate: null, at: "now" })[1].state, "done");
  assert.equal(runningSteps(line, null), line.stages);
  assert.equal(runningSteps({ ...line, stopped: {} }, { stage: "write", bytes: 1, total: 2, rate: null, at: "now" }), line.stages);
});

test("machines are ordered by the last flash that ended well, whatever they are bound to now", () => {
  const made = [machine(1, { flashed_at: "2" }), machine(2, { flashed_at: "1", last_flashed_at: "9" }), machine(3, { flashed_at: null })];
  assert.deepEqual(made.sort(order("last_flashed_at", "desc")).map(({ mac }) => mac.at(-1)), ["1", "2", "3"]);
});

test("hardware of any shape is read without harm", () => {
  assert.equal(highlights(null).cpus.length, 0);
  assert.equal(highlights([{ class: "system", product: { a: 1 }, children: "x" }, 3]).system, "");
  const found = highlights({ class: "system", vendor: "V", product: "P", children: [{ id: "memory", class: "memory", size: 8 }, { class: "network", serial: "AA:BB" }] });
  assert.deepEqual([found.system, found.memory_bytes, found.nics[0].mac], ["V P", 8, "aa:bb"]);
  const deep = { children: [] };
  let at = deep;
  for (let level = 0; level < 20000; level += 1) at = at.children[0] = { children: [] };
  assert.equal(highlights(deep).modules, 0);
});

test("a change of many is one request, with what each machine gets for itself", () => {
  const [one, two] = [machine(1), machine(2)];
  const plan = [{ machine: one, own: { target_disk_serial: "A" } }, { machine: two, own: {} }];
  assert.deepEqual(makeRequest(plan, { boot_mode: "bty-tui" }), { set: { boot_mode: "bty-tui" }, macs: [one.mac, two.mac], each: [{ mac: one.mac, target_disk_serial: "A" }] });
  assert.deepEqual(makeRequest(plan, {}), { each: [{ mac: one.mac, target_disk_serial: "A" }] });
  assert.deepEqual(makeRequest([plan[1]], { labels: [] }), { set: { labels: [] }, macs: [two.mac] });
  assert.equal(makeRequest([plan[1]], {}), null);
});

test("what is chosen goes into the address and comes back", () => {
  const chosen = new Set(["52:54:00:00:00:01", "52:54:00:00:00:02"]);
  assert.deepEqual(readSelection(writeSelection(chosen)), chosen);
  assert.deepEqual(readSelection("#sel=zz,52540000000"), new Set());
  assert.equal(writeSelection(new Set()), "");
  assert.deepEqual(readChoice(writeChoice([3, 17]), /^\d+$/), ["3", "17"]);
  assert.deepEqual(readChoice("#main", /./), []);
});

test("a range goes from the one that was clicked last to this one, either way", () => {
  assert.deepEqual([rangeOf([1, 2, 3, 4], 0, 2), rangeOf([1, 2, 3, 4], 3, 1), rangeOf([1, 2, 3, 4], -1, 1)], [[1, 2, 3], [2, 3, 4], [2]]);
});

test("labels are split, trimmed and taken once", () => {
  assert.deepEqual(splitLabels(" ci, rack 1,,CI "), ["CI", "rack 1"]);
});

test("a log grows at its end, keeps its numbers, and is replaced where lines are missing", () => {
  const first = addLines(undefined, { lines: ["a", "b"], upto: 12, whole: true });
  assert.deepEqual(first, { first: 11, upto: 12, lines: ["a", "b"] });
  assert.deepEqual(addLines(first, { lines: ["c"], upto: 13, whole: false }), { first: 11, upto: 13, lines: ["a", "b", "c"] });
  assert.deepEqual(addLines(first, { lines: ["z"], upto: 99, whole: true }), { first: 99, upto: 99, lines: ["z"] });
  const long = addLines(first, { lines: Array.from({ length: 199 }, (_, n) => `${n}`), upto: 211, whole: false });
  assert.deepEqual([long.first, long.lines.length, long.lines[0]], [12, 200, "b"]);
});
