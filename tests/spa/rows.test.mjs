// A page of machines that stays still while the machines change.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Rows } from "../../spa/model/rows.js";
import { machine } from "./make.mjs";

const VIEW = { q: "", filter: "", label: "", sort: "mac", dir: "asc", page: 1, per_page: 3 };
const rows = (view, ...numbers) => {
  const made = new Rows({ ...VIEW, ...view });
  made.replace({ items: numbers.map((number) => machine(number, { last_seen_at: `2026-01-${String(number).padStart(2, "0")}` })), total: 30 });
  return made;
};
const numbers = (made) => made.machines.map(({ mac }) => Number(mac.slice(-2)));

test("a change is seen in its place, also where it would be elsewhere", () => {
  const made = rows({ sort: "last_seen_at" }, 1, 2, 3);
  assert.equal(made.put(machine(1, { last_seen_at: "2026-02-01" })), false);
  assert.deepEqual([numbers(made), [...made.stale]], [[1, 2, 3], ["52:54:00:00:00:01"]]);
  made.put(machine(1, { last_seen_at: "2026-01-01" }));
  assert.equal(made.stale.size, 0);
});

test("a row that leaves the filter stays and is counted", () => {
  const made = rows({ filter: "discovered" }, 1, 2);
  made.put(machine(2, { bty_image_ref: "x" }));
  assert.deepEqual([numbers(made), made.stale.size], [[1, 2], 1]);
});

test("a new machine is counted only where it would be on this page", () => {
  const made = rows({ page: 2 }, 4, 5, 6);
  for (const number of [1, 9]) made.put(machine(number));
  assert.equal(made.stale.size, 0);
  made.view.per_page = 3;
  made.put({ ...machine(5), mac: "52:54:00:00:00:05a" });
  assert.deepEqual([numbers(made), made.stale.size], [[4, 5, 6], 1]);
});

test("the last page takes what comes after it, the first what comes before", () => {
  const first = rows({ per_page: 10 }, 2, 3);
  first.put(machine(9));
  first.put(machine(1));
  assert.equal(first.stale.size, 2);
});

test("the first machine on an empty page has it fetched again", () => {
  const made = new Rows(VIEW);
  assert.equal(made.put(machine(1)), false); // not loaded yet
  made.replace({ items: [], total: 0 });
  assert.equal(made.put(machine(1)), true);
});

test("a fetched page in place changes rows and moves none", () => {
  const made = rows({}, 1, 2, 3);
  made.replace({ items: [machine(0), machine(1), machine(2, { labels: ["x"] })], total: 31 }, { inPlace: true });
  assert.deepEqual([numbers(made), made.machines[1].labels, made.stale.size], [[1, 2, 3], ["x"], 4]);
  made.replace({ items: [machine(0), machine(1)], total: 31 });
  assert.deepEqual([numbers(made), made.stale.size], [[0, 1], 0]);
});

test("what the stream said during a fetch is newer than the answer", () => {
  const made = rows({}, 1, 2);
  made.begin();
  made.put(machine(1, { labels: ["newer"], updated_at: "2026-05-02" }));
  made.replace({ items: [machine(1, { labels: ["older"], updated_at: "2026-05-01" }), machine(2)], total: 2 });
  assert.deepEqual(made.machines[0].labels, ["newer"]);
});

test("a deleted machine is struck out and comes back where it was", () => {
  const made = rows({}, 1, 2);
  made.remove("52:54:00:00:00:01");
  assert.ok(made.gone.has("52:54:00:00:00:01"));
  made.put(machine(1));
  assert.equal(made.gone.size, 0);
});

test("progress goes to its row only", () => {
  const made = rows({}, 1, 2);
  made.progress("52:54:00:00:00:02", { stage: "write", bytes: 1, total: 2, rate: 1, at: "" });
  assert.deepEqual(made.machines.map(({ progress }) => progress?.bytes ?? null), [null, 1]);
});

test("a change that came while the page was fetched is not undone by it, and afterwards other machines are not kept", () => {
  const made = rows({}, 1, 2, 3);
  made.begin();
  made.put(machine(2, { boot_state: "new", updated_at: "2026-02-01" }));
  made.replace({ items: [machine(1), machine(2)], total: 2 });
  assert.equal(made.machines[1].boot_state, "new");
  for (let number = 10; number < 99; number += 1) made.put(machine(number));
  assert.equal(made.meanwhile, null);
});
