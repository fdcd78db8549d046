// A page of a list that stays still while what it lists changes. Pure.
//
// A row that is there changes in place and keeps its place, even where it would now stand elsewhere. What would change
// the order, or bring rows in or out, is only counted, until somebody asks for it.

import { belongs, order } from "./machine.js";

/**
 * @typedef {import("../types.js").Machine} Machine
 * @typedef {{q: string, filter: string, label: string, sort: string, dir: string, page: number, per_page: number}} View
 */

/** One page of machines as it was fetched, and what has happened to it since. */
export class Rows {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    /** @type {Machine[]} */
    this.machines = [];
    this.total = 0;
    this.isLoaded = false;
    /** @type {Set<string>} */
    this.gone = new Set();
    /** @type {Set<string>} */
    this.stale = new Set();
    /** @type {Map<string, Machine> | null} */
    this.meanwhile = null;
  }

  /** Note that an answer is under way: what the stream says from here on may be newer than that answer. */
  begin() {
    this.meanwhile = new Map();
  }

  /**
   * Take a fetched page. With *inPlace* rows that are there stay where they are.
   * @param {{items: Machine[], total: number}} page
   * @param {{inPlace?: boolean}} [options]
   */
  replace(page, options) {
    const items = page.items.map((machine) => {
      const newer = this.meanwhile?.get(machine.mac);
      return newer && newer.updated_at >= machine.updated_at ? newer : machine;
    });
    this.meanwhile = null; // or it would come to hold the whole fleet
    this.total = page.total;
    if (!options?.inPlace || !this.isLoaded || !this.machines.length) {
      this.machines = items;
      this.gone.clear();
      this.stale.clear();
      this.isLoaded = true;
      return;
    }
    const found = new Map(items.map((machine) => [machine.mac, machine]));
    this.machines = this.machines.map((machine) => found.get(machine.mac) ?? machine);
    this.stale.clear();
    items.forEach((machine, index) => {
      if (this.machines[index]?.mac !== machine.mac) this.stale.add(machine.mac);
    });
    for (const machine of this.machines) if (!found.has(machine.mac)) this.stale.add(machine.mac);
  }

  /**
   * Take a machine as it is now. Return whether the page has to be fetched again: it was empty, and is not any more.
   * @param {Machine} machine
   */
  put(machine) {
    this.meanwhile?.set(machine.mac, machine);
    const index = this.machines.findIndex(({ mac }) => mac === machine.mac);
    if (index < 0) {
      if (!this.isLoaded || !belongs(machine, this.view) || !this.isHere(machine)) return false;
      if (!this.machines.length) return true;
      this.stale.add(machine.mac);
      return false;
    }
    this.machines = this.machines.map((old, at) => (at === index ? machine : old));
    this.gone.delete(machine.mac);
    if (belongs(machine, this.view) && this.isInOrder(index)) this.stale.delete(machine.mac);
    else this.stale.add(machine.mac);
    return false;
  }

  /**
   * @param {string} mac
   * @param {import("../types.js").Progress | null} progress
   */
  progress(mac, progress) {
    this.machines = this.machines.map((machine) => (machine.mac === mac ? { ...machine, progress } : machine));
  }

  /** @param {string} mac */
  remove(mac) {
    this.stale.delete(mac);
    this.meanwhile?.delete(mac);
    if (this.machines.some((machine) => machine.mac === mac)) this.gone.add(mac);
  }

  /**
   * Tell whether a machine that is not on the page would be.
   * @param {Machine} machine
   */
  isHere(machine) {
    const compare = order(this.view.sort, this.view.dir);
    const first = this.machines[0];
    const last = this.machines.at(-1);
    if (!first || !last) return this.view.page === 1;
    if (compare(machine, first) < 0) return this.view.page === 1;
    return compare(machine, last) < 0 || this.machines.length < this.view.per_page;
  }

  /** @param {number} index */
  isInOrder(index) {
    const compare = order(this.view.sort, this.view.dir);
    const [before, here, after] = [this.machines[index - 1], this.machines[index], this.machines[index + 1]];
    return (!before || compare(before, here) <= 0) && (!after || compare(here, after) <= 0);
  }
}
