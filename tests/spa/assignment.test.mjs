// Saving what a machine is to become: what is asked first, what is sent, and what is kept of what was typed.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { isMissing } from "../../spa/model/catalog.js";
import { Assignment } from "../../spa/parts/assignment.js";
import { machine } from "./make.mjs";

const REF = "a".repeat(64);
const bound = machine(1, { bty_image_ref: REF, target_disk_serial: "S" });
let sent, answer;

beforeEach(() => {
  sent = [];
  globalThis.fetch = async (path, { method, body }) => {
    sent.push(JSON.parse(body));
    await answer?.();
    return new Response(JSON.stringify({ ...bound, ...JSON.parse(body) }), { headers: { "Content-Type": "application/json" } });
  };
});

function form(images) {
  const asked = [];
  const app = { redraw() {}, notify() {}, images, entry: (ref) => images.data?.find((entry) => entry.bty_image_ref === ref), isMissing: (ref) => isMissing(images, ref) };
  const made = new Assignment(app, bound.mac, () => {});
  made.confirm = async (...question) => (asked.push(question), false);
  return { made, asked };
}

test("a flash is asked about where nobody knows the images yet, or no more", async () => {
  for (const images of [{ data: undefined }, { data: undefined, error: new Error("no") }, { data: [], error: new Error("no") }]) {
    const { made, asked } = form(images);
    made.set("boot_mode", "bty-flash-always");
    await made.save(bound);
    assert.equal(asked.length, 1);
    assert.deepEqual(sent, []);
  }
});

test("an image that the catalog does not have is not asked about: nothing is written", async () => {
  const { made, asked } = form({ data: [] });
  made.set("boot_mode", "bty-flash-always");
  await made.save(bound);
  assert.deepEqual([asked, sent], [[], [{ boot_mode: "bty-flash-always" }]]);
});

test("what is typed while a save is under way stays", async () => {
  const { made } = form({ data: [] });
  made.set("labels", "rack 1");
  made.set("sanboot_drive", "0x81");
  answer = () => made.set("labels", "rack 12");
  await made.save(bound);
  assert.deepEqual(sent, [{ labels: ["rack 1"], sanboot_drive: "0x81" }]);
  assert.deepEqual(made.draft, { labels: "rack 12" });
  answer = undefined;
  await made.save({ ...bound, labels: ["rack 1"], sanboot_drive: "0x81" });
  assert.deepEqual([sent[1], made.draft], [{ labels: ["rack 12"] }, {}]);
});
