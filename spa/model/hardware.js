// What an operator wants to know of an lshw report: processor, memory, network. Pure; the report is a client's and may be anything.

/**
 * @typedef {Record<string, any>} Node
 */

/**
 * Return every node of a report, depth first.
 * @param {unknown} report
 * @returns {Node[]}
 */
function nodes(report) {
  /** @type {Node[]} */
  const found = [];
  /** @type {unknown[]} */
  const waiting = [report];
  while (waiting.length && found.length < 5000) {
    const node = waiting.shift();
    if (Array.isArray(node)) waiting.unshift(...node);
    else if (node && typeof node === "object") {
      found.push(node);
      const children = /** @type {Node} */ (node).children;
      if (Array.isArray(children)) waiting.unshift(...children);
    }
  }
  return found;
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" || typeof value === "number" ? String(value).trim() : "";
}

/**
 * Return the highlights of a report.
 * @param {unknown} report
 */
export function highlights(report) {
  const all = nodes(report);
  const system = all.find((node) => node.class === "system");
  const cpus = all.filter((node) => node.class === "processor" && !node.disabled && text(node.product));
  const memory = all.find((node) => node.class === "memory" && /^memory/.test(text(node.id)) && Number(node.size) > 0);
  const banks = all.filter((node) => /^bank/.test(text(node.id)) && Number(node.size) > 0);
  return {
    system: [text(system?.vendor), text(system?.product)].filter(Boolean).join(" "),
    serial: text(system?.serial),
    cpus: cpus.map((node) => ({ name: text(node.product) || text(node.version), cores: Number(node.configuration?.cores) || 0, threads: Number(node.configuration?.threads) || 0 })),
    memory_bytes: Number(memory?.size) || banks.reduce((sum, node) => sum + Number(node.size), 0),
    modules: banks.length,
    nics: all
      .filter((node) => node.class === "network" && text(node.serial))
      .map((node) => ({ name: text(node.logicalname), mac: text(node.serial).toLowerCase(), product: [text(node.vendor), text(node.product)].filter(Boolean).join(" "), speed_bps: Number(node.size) || 0 })),
  };
}
