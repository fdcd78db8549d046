// Releases of the live environment that are fetched, or were.

import { h } from "../lib/vdom.js";
import { bytes } from "../model/format.js";
import { badge, card, empty } from "./common.js";

const KINDS = /** @type {Record<string, string>} */ ({ completed: "good", failed: "bad", running: "busy", queued: "wait", cancelled: "none" });

/**
 * @param {any} found the answer of `GET /boot/releases`
 * @param {{start: (tag: string) => void, stop: (tag: string) => void}} acts
 */
export function viewFetches(found, { start, stop }) {
  const fetches = found.fetches ?? [];
  return card(
    "Releases",
    { actions: h("button", { type: "button", class: "small", onclick: () => start("latest") }, "Fetch the release of this version") },
    fetches.length === 0 && empty("None has been fetched.", h("p", null, "The daemon fetches the live environment from where the settings say, checks its digests, and puts it into place.")),
    h(
      "ul",
      { class: "lines" },
      fetches.map((/** @type {any} */ state) =>
        h(
          "li",
          { key: state.tag },
          h("span", null, h("strong", null, state.tag), " ", badge(KINDS[state.status] ?? "none", state.status), h("span", { class: "second" }, [state.artifact, state.bytes_total ? `${bytes(state.bytes_done)} of ${bytes(state.bytes_total)}` : state.bytes_done ? bytes(state.bytes_done) : ""].filter(Boolean).join(" · ")), state.error && h("span", { class: "bad-text" }, state.error)),
          (state.status === "running" || state.status === "queued") && h("button", { type: "button", class: "small danger", onclick: () => stop(state.tag) }, "Cancel"),
        ),
      ),
    ),
  );
}
