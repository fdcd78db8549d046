// Questions that stand in front of the page: the browser's own dialog, which keeps the focus and gives it back.

import { h, render } from "../lib/vdom.js";

/** @typedef {import("../lib/vdom.js").Child} Child */

/**
 * Show a dialog and return what it was closed with: null where it was dismissed.
 *
 * *view* describes its content; it gets `close`, and `redraw` for when what it shows has changed.
 * @template T
 * @param {string} title
 * @param {(hand: {close: (value: T | null) => void, redraw: () => void}) => Child} view
 * @param {{wide?: boolean}} [options]
 * @returns {Promise<T | null>}
 */
export function openDialog(title, view, options) {
  const dialog = document.createElement("dialog");
  dialog.className = options?.wide ? "dialog wide" : "dialog";
  dialog.setAttribute("aria-labelledby", "dialog-title");
  document.body.append(dialog);
  return new Promise((resolve) => {
    /** @type {T | null} */
    let result = null;
    /** @param {T | null} value */
    const close = (value) => {
      result = value;
      dialog.close();
    };
    const redraw = () => render(dialog, [h("h2", { id: "dialog-title" }, title), view({ close, redraw })]);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    redraw();
    dialog.showModal();
  });
}

/**
 * Ask before something that cannot be taken back. The safe answer has the focus.
 * @param {{title: string, text: Child, yes: string, wide?: boolean, dangerous?: boolean}} question
 * @returns {Promise<boolean>}
 */
export async function confirm({ title, text, yes, wide = false, dangerous = true }) {
  const answer = await openDialog(
    title,
    ({ close }) => [
      h("div", { class: "dialog-body" }, text),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { type: "button", autofocus: true, onclick: () => close(null) }, "Cancel"),
        h("button", { type: "button", class: dangerous ? "danger" : "primary", onclick: () => close(true) }, yes),
      ),
    ],
    { wide },
  );
  return answer === true;
}
