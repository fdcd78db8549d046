// A machine that has not booted yet, made by hand. One that is there is never overwritten.

import { send } from "../lib/api.js";
import { go } from "../lib/router.js";
import { h } from "../lib/vdom.js";
import { machinePath } from "../model/machine.js";
import { field } from "./common.js";
import { openDialog } from "./dialog.js";

/** @param {import("../main.js").App} app */
export async function askToAdd(app) {
  let problem = "";
  /** @type {string | null} */
  const mac = await openDialog("Add a machine", ({ close, redraw }) => {
    /** @param {SubmitEvent} event */
    const submit = async (event) => {
      event.preventDefault();
      const typed = String(new FormData(/** @type {HTMLFormElement} */ (event.target)).get("mac")).trim();
      try {
        const made = await send("PUT", `/machines/${encodeURIComponent(typed)}`, {}, { "If-None-Match": "*" });
        close(made.mac);
      } catch (error) {
        problem = /** @type {import("../lib/api.js").ApiError} */ (error).message;
        redraw();
      }
    };
    return h(
      "form",
      { onsubmit: submit },
      h("div", { class: "dialog-body" },
        h("p", null, "Machines that boot from the network appear by themselves. One that is added by hand boots its disk until you change its mode."),
        field({ id: "mac", label: "MAC address", help: "Six pairs of hex digits, such as 52:54:00:12:34:56.", problem }, (attributes) =>
          h("input", { ...attributes, type: "text", required: true, autofocus: true, autocomplete: "off", spellcheck: "false", maxlength: 17 }),
        ),
      ),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        h("button", { type: "submit", class: "primary" }, "Add"),
      ),
    );
  });
  if (mac) {
    app.notify(`${mac} was added.`);
    go(machinePath(mac));
  }
}
