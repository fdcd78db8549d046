// Who else is told of events, how it goes, and what they did not take.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { plural } from "../model/format.js";
import { badge, card, failure, note, time } from "./common.js";
import { confirm } from "./dialog.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../api.js").HookRow} Hook
 */

const LETTERS_SHOWN = 10;
const RETRY_MS = 2000;

export class Webhooks {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Load<{items: Hook[]}>} */
    this.load = new Load(() => get("/webhooks"), () => app.redraw());
    this.load.run();
  }

  /** @param {() => Promise<{count: number}>} act */
  async do(act) {
    try {
      await act();
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.load.run();
    this.load.soon(RETRY_MS);
  }

  /** @param {number} count */
  async drop(count) {
    const text = h("p", null, "They stay in the list of events, but these receivers never hear of them.");
    if (await confirm({ title: `Forget ${plural(count, "event")} that nobody took?`, text, yes: "Forget them" })) await this.do(() => send("DELETE", "/webhooks/dead"));
  }

  view() {
    const items = this.load.data?.items ?? [];
    const dead = items.reduce((sum, hook) => sum + hook.dead.length, 0);
    return card(
      "Webhooks",
      {
        id: "webhooks",
        actions: dead > 0 && [
          h("button", { type: "button", class: "small", key: "again", onclick: () => this.do(() => send("POST", "/webhooks/dead/retry")) }, "Send again"),
          h("button", { type: "button", class: "small danger", key: "drop", onclick: () => this.drop(dead) }, "Forget"),
        ],
      },
      failure(this.load),
      this.load.data && items.length === 0 && h("p", { class: "muted" }, "Nobody else is told of events. A [[webhook]] in the configuration file names who is."),
      items.length > 0 && h("ul", { class: "lines" }, items.map((hook, index) => viewHook(hook, index))),
    );
  }
}

/**
 * @param {Hook} hook
 * @param {number} index
 */
function viewHook(hook, index) {
  const state = hook.dead.length ? badge("bad", "not taken") : hook.waiting ? badge("busy", "under way") : badge("good", "OK");
  const facts = [hook.events.join(", "), hook.signed ? "signed" : "not signed", `${hook.delivered} delivered`, `${hook.waiting} waiting`];
  return h(
    "li",
    { key: index },
    h(
      "div",
      null,
      h("strong", null, hook.host),
      " ",
      state,
      h("span", { class: "second" }, facts.join(" · ")),
      hook.dead.length > 0 && note("bad", h("p", null, `${plural(hook.dead.length, "event")} not taken:`), h("ul", null, hook.dead.slice(-LETTERS_SHOWN).map((letter) => h("li", { key: letter.id }, h("span", null, h("code", null, letter.kind), " ", time(letter.at), ": ", letter.reason))))),
    ),
  );
}
