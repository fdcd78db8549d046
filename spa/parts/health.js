// What keeps the fleet from working, and what to do about it.

import { get } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { badge, card, failure, time } from "./common.js";

const NAMES = /** @type {Record<string, string>} */ ({
  netboot: "Live environment",
  catalog: "Catalog",
  tftp: "TFTP",
  events: "Failures",
  failures: "Failures",
  password: "Password",
  disk: "Disk space",
  state: "State directory",
  webhooks: "Webhooks",
});
const PLACES = /** @type {Record<string, string>} */ ({
  netboot: "/ui/netboot",
  tftp: "/ui/netboot",
  catalog: "/ui/images",
  events: "/ui/events?unacknowledged=1",
  failures: "/ui/events?unacknowledged=1",
  password: "/ui/account",
  webhooks: "/ui/settings#webhooks",
});
const WORDS = /** @type {Record<string, [string, string]>} */ ({ ok: ["good", "OK"], failed: ["bad", "wrong"], info: ["none", "note"] });

const RECHECK_MS = 1000;

/**
 * What is right and wrong; while a check is still running it is asked for again.
 * @param {() => void} changed
 */
export function loadHealth(changed) {
  /** @type {Load<import("../api.js").HealthRow>} */
  const load = new Load(async () => {
    const health = await get("/health");
    if (health.checks.some((/** @type {import("../api.js").Check} */ check) => check.running)) load.soon(RECHECK_MS);
    return health;
  }, changed);
  return load;
}

/** @param {import("../lib/load.js").Load<import("../api.js").HealthRow>} load */
export function viewHealth(load) {
  const health = load.data;
  return card(
    "Health",
    { id: "health", actions: health && badge(health.ok === health.total ? "good" : "bad", `${health.ok} / ${health.total} OK`) },
    failure(load),
    !health && !load.error && h("p", { class: "muted" }, "Loading…"),
    health && viewChecks(health.checks),
  );
}

/** @param {import("../api.js").Check[]} checks */
function viewChecks(checks) {
  const wrong = checks.filter(({ state }) => state === "failed");
  const rest = checks.filter(({ state }) => state !== "failed");
  return [
    wrong.length > 0 && h("ul", { class: "checks", key: "wrong" }, wrong.map((check) => viewCheck(check))),
    wrong.length === 0 && h("p", { key: "fine" }, "Everything that machines need is there."),
    rest.length > 0 && h("details", { key: "rest" }, h("summary", null, wrong.length ? "What is right" : "What was looked at"), h("ul", { class: "checks" }, rest.map((check) => viewCheck(check)))),
  ];
}

/** @param {import("../api.js").Check} check */
export function viewCheck(check) {
  const [kind, word] = WORDS[check.state] ?? ["none", check.state];
  /** @type {[string, string]} */
  const shown = check.running && !check.checked_at ? ["busy", "checking"] : [kind, word];
  const title = NAMES[check.name] ?? check.name;
  const place = PLACES[check.name];
  return h(
    "li",
    { key: check.name },
    badge(...shown),
    h("div", null, place ? h("a", { href: place }, title) : h("strong", null, title), h("span", { class: "second" }, check.detail), check.hint && h("span", { class: "second hint" }, check.hint), check.running && check.checked_at && h("span", { class: "second" }, "Looked at ", time(check.checked_at), "; being looked at again…")),
  );
}
