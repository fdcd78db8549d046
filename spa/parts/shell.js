// What surrounds every page: where one is, where one can go, and whether what one sees is live.

import { h } from "../lib/vdom.js";
import { nextTheme, theme } from "./theme.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../lib/vdom.js").Child} Child
 */

const PLACES = [
  ["dashboard", "Dashboard"],
  ["machines", "Machines"],
  ["images", "Images"],
  ["netboot", "Network boot"],
  ["backups", "Backups"],
  ["events", "Events"],
  ["settings", "Settings"],
  ["account", "Account"],
];
const STREAM_WORDS = { waiting: "connecting", live: "live", lost: "not live: the daemon does not answer" };
let isMenuOpen = false;

/**
 * The whole document.
 * @param {App} app
 * @returns {Child}
 */
export function shell(app) {
  const close = () => {
    isMenuOpen = false;
  };
  return [
    h("a", { class: "skip", href: "#main", key: "skip" }, "Skip to the content"),
    h(
      "header",
      { class: "top", key: "top" },
      h("a", { class: "brand", href: "/ui/dashboard" }, h("span", { class: "brand-mark", "aria-hidden": "true" }, "b"), "bty"),
      h(
        "button",
        {
          type: "button",
          class: "menu-button",
          "aria-expanded": String(isMenuOpen),
          "aria-controls": "menu",
          onclick: () => {
            isMenuOpen = !isMenuOpen;
            app.redraw();
          },
        },
        "Menu",
      ),
      h(
        "div",
        { class: `menu ${isMenuOpen ? "open" : ""}`, id: "menu", onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && leaveMenu(app) },
        h(
          "nav",
          { "aria-label": "Pages" },
          h(
            "ul",
            null,
            PLACES.map(([name, title]) =>
              h("li", { key: name }, h("a", { href: `/ui/${name}`, "aria-current": isAt(app.address, name) ? "page" : null, onclick: close }, title)),
            ),
          ),
        ),
        h(
          "div",
          { class: "tools" },
          h("button", { type: "button", class: "small quiet", onclick: () => (nextTheme(), app.redraw()) }, `Theme: ${theme()}`),
          h("form", { method: "post", action: "/ui/logout" }, h("button", { class: "small quiet" }, "Log out")),
        ),
      ),
      h(
        "p",
        { class: `stream ${app.stream.state}`, role: "status", title: STREAM_WORDS[app.stream.state] },
        h("span", { class: "dot", "aria-hidden": "true" }),
        app.stream.state === "live" ? "live" : app.stream.state === "lost" ? "not live" : "…",
      ),
    ),
    app.isUpgraded &&
      h(
        "div",
        { class: "banner", role: "status", key: "upgraded" },
        `The daemon is now version ${app.version}. `,
        h("button", { type: "button", class: "small", onclick: () => location.reload() }, "Reload this page"),
      ),
    h("main", { id: "main", tabindex: "-1", key: `main ${app.address}` }, app.page?.view()),
    h(
      "div",
      { class: "toasts", role: "status", "aria-live": "polite", key: "toasts" },
      app.toasts.map((toast) =>
        h(
          "div",
          { class: `toast ${toast.kind}`, key: toast.id },
          h("span", null, toast.text),
          h("button", { type: "button", class: "small quiet", "aria-label": "Dismiss", onclick: () => app.dismiss(toast.id) }, "✕"),
        ),
      ),
    ),
  ];
}

/**
 * Close the menu and give the focus back to what opened it.
 * @param {App} app
 */
function leaveMenu(app) {
  if (!isMenuOpen) return;
  isMenuOpen = false;
  app.root.querySelector("button")?.focus();
  app.redraw();
}

/**
 * @param {string} address
 * @param {string} name
 */
function isAt(address, name) {
  return address === `/ui/${name}` || address.startsWith(`/ui/${name}/`);
}
