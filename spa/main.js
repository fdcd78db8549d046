// The composition root: the shell around every page, the way between pages, and what all of them share.

import { get, query } from "./lib/api.js";
import { Edits } from "./lib/edits.js";
import { Load } from "./lib/load.js";
import { go, match, watch } from "./lib/router.js";
import { Stream } from "./lib/stream.js";
import { h, render } from "./lib/vdom.js";
import { isMissing } from "./model/catalog.js";
import { accountPage } from "./pages/account.js";
import { backupsPage } from "./pages/backups.js";
import { dashboardPage } from "./pages/dashboard.js";
import { eventsPage } from "./pages/events.js";
import { imagesPage } from "./pages/images.js";
import { machinePage } from "./pages/machine.js";
import { machinesPage } from "./pages/machines.js";
import { netbootPage } from "./pages/netboot.js";
import { settingsPage } from "./pages/settings.js";
import { confirm } from "./parts/dialog.js";
import { shell } from "./parts/shell.js";
import { applyTheme } from "./parts/theme.js";

/**
 * @typedef {import("./lib/vdom.js").Child} Child
 * @typedef {import("./types.js").Entry} Entry
 * @typedef {{title: string, view: () => Child, navigate?: (query: URLSearchParams, hash: string) => void, take?: (name: string, data: any) => void, wake?: () => void, isEdited?: () => boolean, leave?: () => void}} Page
 * @typedef {(app: App, params: Record<string, string>) => Page} PageMaker
 */

/** @type {{pattern: RegExp, name: string, make: PageMaker}[]} */
const ROUTES = [
  { pattern: /^\/ui\/dashboard$/, name: "dashboard", make: dashboardPage },
  { pattern: /^\/ui\/machines$/, name: "machines", make: machinesPage },
  { pattern: /^\/ui\/machines\/(?<mac>[^/]+)$/, name: "machine", make: machinePage },
  { pattern: /^\/ui\/images$/, name: "images", make: imagesPage },
  { pattern: /^\/ui\/netboot$/, name: "netboot", make: netbootPage },
  { pattern: /^\/ui\/backups$/, name: "backups", make: backupsPage },
  { pattern: /^\/ui\/events$/, name: "events", make: eventsPage },
  { pattern: /^\/ui\/settings$/, name: "settings", make: settingsPage },
  { pattern: /^\/ui\/account$/, name: "account", make: accountPage },
];
const TOAST_MS = 6000;
const CLOCK_MS = 15_000;

/** What the pages share. */
export class App {
  /** @param {Element} root */
  constructor(root) {
    this.root = root;
    /** @type {Page | undefined} */
    this.page = undefined;
    this.address = "";
    /** @type {{id: number, kind: string, text: string}[]} */
    this.toasts = [];
    this.version = "";
    this.isUpgraded = false;
    this.isDrawing = false;
    this.edits = new Edits("main");
    /** @type {Load<Entry[]>} */
    this.images = new Load(() => get("/catalog/entries"), () => this.redraw());
    this.stream = new Stream((name, data) => this.take(name, data), () => this.redraw());
  }

  start() {
    applyTheme();
    this.edits.watch();
    watch(() => this.arrive(), { isEdited: () => this.isEdited(), mayLeave: () => this.mayLeave() });
    addEventListener("beforeunload", (event) => this.isEdited() && event.preventDefault());
    this.arrive();
    this.images.run();
    this.stream.open();
    setInterval(() => document.visibilityState === "visible" && this.redraw(), CLOCK_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.page?.wake?.();
      this.redraw();
    });
  }

  /** Show the page of the address that the browser has now. */
  arrive() {
    const found = match(ROUTES, location.pathname);
    if (!found) return go("/ui/dashboard", { replace: true });
    if (location.pathname !== this.address) {
      const isFirst = this.address === "";
      this.page?.leave?.();
      this.edits.forget();
      this.address = location.pathname;
      const route = ROUTES.find(({ name }) => name === found.name);
      this.page = route?.make(this, found.params);
      scrollTo(0, 0);
      if (!isFirst) this.focusHeading = true;
    }
    this.page?.navigate?.(new URLSearchParams(location.search), location.hash);
    this.redraw();
  }

  /** Tell whether something on this page was typed and not saved. */
  isEdited() {
    return this.page?.isEdited?.() ?? this.edits.any();
  }

  /** Ask whether to leave it all the same. */
  mayLeave() {
    return confirm({ title: "Leave without saving?", yes: "Leave without saving", text: h("p", null, "What you changed on this page is not saved yet, and would be lost.") });
  }

  /** Draw before the next frame. */
  redraw() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    const draw = () => {
      this.isDrawing = false;
      render(this.root, shell(this));
      document.title = this.page ? `${this.page.title} - bty` : "bty";
      if (this.focusHeading) {
        this.focusHeading = false;
        this.root.querySelector("h1")?.focus();
      }
    };
    if (document.visibilityState === "visible") requestAnimationFrame(draw);
    else setTimeout(draw, 250);
  }

  /**
   * Put *values* into the query of the address; empty ones leave it.
   * @param {Record<string, string | number | null | undefined>} values
   * @param {{replace?: boolean}} [options]
   */
  setQuery(values, options) {
    const all = { ...Object.fromEntries(new URLSearchParams(location.search)), ...values };
    go(location.pathname + query(all) + location.hash, options);
  }

  /**
   * Say something for a moment.
   * @param {string} text
   * @param {"good" | "bad" | "info"} [kind]
   */
  notify(text, kind = "good") {
    const id = Date.now() + Math.random();
    this.toasts.push({ id, kind, text });
    setTimeout(() => this.dismiss(id), kind === "bad" ? TOAST_MS * 2 : TOAST_MS);
    this.redraw();
  }

  /** @param {number} id */
  dismiss(id) {
    this.toasts = this.toasts.filter((toast) => toast.id !== id);
    this.redraw();
  }

  /** @param {string | null | undefined} ref */
  entry(ref) {
    return ref ? this.images.data?.find((entry) => entry.bty_image_ref === ref) : undefined;
  }

  /**
   * Tell whether the catalog is known to lack this image.
   * @param {string} ref
   */
  isMissing(ref) {
    return isMissing(this.images, ref);
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "hello") {
      this.isUpgraded = this.version !== "" && this.version !== data.version;
      this.version = data.version;
    } else if (name === "catalog" || name === "resync") {
      this.images.soon();
    }
    this.page?.take?.(name, data);
    this.redraw();
  }
}

const root = document.getElementById("app");
if (root) new App(root).start();
