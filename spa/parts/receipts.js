// What a machine's flashes came to.

import { h } from "../lib/vdom.js";
import { bytes, duration, rate } from "../model/format.js";
import { badge, card, digest, empty, facts, failure, time } from "./common.js";

/**
 * @typedef {import("../types.js").AuditEvent} AuditEvent
 * @typedef {import("../types.js").Receipt} Receipt
 */

const PROOFS = /** @type {Record<string, string>} */ ({ wire: "digest as promised", bmap: "as its block map says", readback: "read back and compared" });

/**
 * @param {import("../lib/load.js").Load<AuditEvent[]>} load
 * @param {import("../types.js").Machine} machine
 */
export function viewReceipts(load, machine) {
  const events = load.data ?? [];
  return card(
    "Flashes",
    {},
    failure(load),
    events.length
      ? h("ol", { class: "receipts" }, events.map((event, index) => viewReceipt(event, index === 0)))
      : load.data && empty("It has not been flashed yet.", machine.bty_image_ref ? null : h("p", null, "Choose an image, a disk and a mode above.")),
  );
}

/**
 * @param {AuditEvent} event
 * @param {boolean} isNewest
 */
function viewReceipt(event, isNewest) {
  const receipt = /** @type {Receipt} */ (event.details ?? {});
  const hasFailed = event.kind === "machine.flash.failed";
  return h(
    "li",
    { key: event.id },
    h(
      "details",
      { open: isNewest || null },
      h(
        "summary",
        null,
        badge(hasFailed ? "bad" : "good", hasFailed ? "failed" : "flashed"),
        " ",
        h("span", null, receipt.name ?? receipt.source ?? "an image"),
        " ",
        h("span", { class: "muted" }, time(event.ts), !hasFailed && receipt.seconds ? ` · ${duration(receipt.seconds)}` : ""),
      ),
      hasFailed && h("p", { class: "bad-text" }, receipt.error ?? event.summary),
      receiptFacts(receipt, hasFailed),
    ),
  );
}

/**
 * @param {Receipt} receipt
 * @param {boolean} hasFailed
 */
function receiptFacts(receipt, hasFailed) {
  const { seconds, image_bytes: size } = receipt;
  const proofs = (receipt.verified ?? []).map((way) => PROOFS[way] ?? way).join(", ");
  return facts([
    ["Disk", [receipt.target_serial && `serial ${receipt.target_serial}`, receipt.target_path].filter(Boolean).join(", ")],
    ["Read", receipt.bytes_read && `${bytes(receipt.bytes_read)} from ${receipt.source ?? "?"}`],
    ["Image", size && bytes(size)],
    ["Written", receipt.bytes_written !== undefined && bytes(receipt.bytes_written)],
    ["Time", seconds !== undefined && [duration(seconds), seconds > 0 && size && rate(size / seconds)].filter(Boolean).join(", ")],
    ["Digest", receipt.sha256 && digest(receipt.sha256)],
    ["Proved", hasFailed ? "" : proofs || "no digest was promised"],
    ["Reconnects", receipt.retries || ""],
    ["Notes", (receipt.notes ?? []).join("; ")],
    ["Sender", receipt.unverified && "not proved: no token of a boot cycle came with it"],
  ]);
}
