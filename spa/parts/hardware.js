// The hardware that a machine reported.

import { h } from "../lib/vdom.js";
import { bytes, plural, sentence } from "../model/format.js";
import { highlights } from "../model/hardware.js";
import { diskName, sizeOf } from "../model/machine.js";
import { badge, card, empty, facts, failure } from "./common.js";

/** @typedef {import("../types.js").Machine} Machine */

/** @param {Machine} machine */
export function viewDisks(machine) {
  const disks = machine.known_disks ?? [];
  const download = machine.known_disks && h("a", { href: `/machines/${machine.mac}/disks.json`, download: true }, "disks.json");
  if (!machine.known_disks) {
    return card("Disks", {}, empty("Not reported yet.", h("p", null, "The machine reports its disks when it boots in the mode Inventory, or before a flash.")));
  }
  return card(
    "Disks",
    { actions: download },
    disks.length === 0 && h("p", { class: "muted" }, "The machine has no disk."),
    h(
      "ul",
      { class: "disks" },
      disks.map((disk, index) =>
        h(
          "li",
          { key: `${disk.path} ${index}` },
          h("p", null, h("strong", null, sentence(diskName(disk))), " ", sizeOf(disk), " ", disk.serial !== null && disk.serial === machine.target_disk_serial && badge("wait", "target")),
          h("p", { class: "second" }, sentence([disk.serial ? `serial ${disk.serial}` : "no serial", disk.path, disk.tran, disk.removable && "removable", disk.readonly && "read-only", disk.wwn].filter(Boolean).join(" · "))),
          (disk.in_use?.length ?? 0) > 0 && h("p", { class: "second" }, `In use: ${disk.in_use?.join(", ")}`),
        ),
      ),
    ),
  );
}

/**
 * @param {Machine} machine
 * @param {import("../lib/load.js").Load<any>} load
 */
export function viewHardware(machine, load) {
  if (load.error) return card("Hardware", {}, failure(load));
  if (!load.data) return null;
  const found = highlights(load.data);
  return card(
    "Hardware",
    { actions: h("a", { href: `/machines/${machine.mac}/lshw.json`, download: true }, "lshw.json") },
    facts([
      ["System", found.system],
      ["Serial", found.serial],
      ["Processor", found.cpus.map((cpu, index) => h("span", { class: "line", key: index }, cpu.name, cpu.cores > 0 && `, ${plural(cpu.cores, "core")}`))],
      ["Memory", found.memory_bytes > 0 && `${bytes(found.memory_bytes)}${found.modules ? ` in ${plural(found.modules, "module")}` : ""}`],
      [
        "Network",
        found.nics.map((nic, index) => h("span", { class: "line", key: index }, [nic.name, nic.mac, nic.product].filter(Boolean).join(" · "), nic.mac === machine.mac && [" ", badge("good", "this machine")])),
      ],
    ]),
  );
}
