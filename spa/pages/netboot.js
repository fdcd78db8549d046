// What machines need to boot from the network: the live environment's files, TFTP, and what the DHCP server has to say.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { upload } from "../lib/upload.js";
import { h } from "../lib/vdom.js";
import { bytes, plural } from "../model/format.js";
import { badge, card, digest, facts, failure, field, heading, note, time } from "../parts/common.js";
import { confirm } from "../parts/dialog.js";
import { eventList } from "../parts/events.js";
import { viewFetches } from "../parts/fetches.js";
import { loadHealth, viewCheck } from "../parts/health.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 */

const TITLES = /** @type {Record<string, string>} */ ({
  vmlinuz: "Kernel of the live environment",
  initrd: "Initial RAM disk of the live environment",
  squashfs: "System of the live environment",
  "ipxe.efi": "iPXE for UEFI",
  "undionly.kpxe": "iPXE for BIOS",
});

/**
 * @param {App} app
 * @returns {Page}
 */
export function netbootPage(app) {
  const page = new Netboot(app);
  return { title: "Network boot", view: () => page.view(), take: (name, data) => page.take(name, data), leave: () => page.leave() };
}

class Netboot {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    const changed = () => app.redraw();
    /** @type {Load<import("../api.js").BootDirectory>} */
    this.files = new Load(() => get("/boot"), changed);
    /** @type {Load<import("../api.js").HealthRow>} */
    this.health = loadHealth(changed);
    /** @type {Load<import("../api.js").ReleaseStates>} */
    this.releases = new Load(() => get("/boot/releases"), changed);
    /** @type {Load<any[]>} */
    this.events = new Load(async () => (await get("/events?subject_kind=netboot&limit=10")).events, changed);
    this.loads = [this.files, this.health, this.releases, this.events];
    /** @type {{name: string, percent: number} | null} */
    this.sending = null;
    this.problem = "";
    for (const load of this.loads) load.run();
  }

  leave() {
    for (const load of this.loads) load.stop();
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "resync") for (const load of this.loads) load.soon();
    else if (name === "event" && data.subject_kind === "netboot") for (const load of this.loads) load.soon();
    else if (name === "job" && data.kind === "release") {
      this.releases.soon(500);
      if (data.status === "completed") for (const load of [this.files, this.health]) load.soon();
    }
  }

  /** @param {SubmitEvent} event */
  async upload(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    this.problem = "";
    try {
      for (const file of /** @type {File[]} */ (new FormData(form).getAll("files"))) {
        await upload(`/boot/${encodeURIComponent(file.name)}`, file, (percent) => {
          this.sending = { name: file.name, percent };
          this.app.redraw();
        });
        this.app.notify(`${file.name} is in place.`);
      }
      form.reset();
    } catch (error) {
      this.problem = /** @type {Error} */ (error).message;
    }
    this.sending = null;
    this.files.run();
    this.health.run();
  }

  /** @param {string} tag */
  async fetchRelease(tag) {
    try {
      await send("POST", "/boot/releases", { tag });
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.releases.run();
  }

  view() {
    const checks = (this.health.data?.checks ?? []).filter(({ name }) => name === "tftp" || name === "netboot");
    return [
      heading("Network boot"),
      h(
        "div",
        { class: "columns", key: "columns" },
        h(
          "div",
          { class: "column" },
          this.viewFiles(),
          this.releases.data && viewFetches(this.releases.data, { start: (tag) => this.fetchRelease(tag), stop: (tag) => this.stopRelease(tag) }),
          this.viewUpload(),
        ),
        h("div", { class: "column" }, checks.length > 0 && card("State", {}, h("ul", { class: "checks" }, checks.map((check) => viewCheck(check)))), viewDhcp()),
      ),
      card("Events", { actions: h("a", { href: "/ui/events?subject_kind=netboot" }, "All of them") }, eventList(this.events, "Nothing has happened yet.")),
    ];
  }

  /** @param {string} tag */
  async stopRelease(tag) {
    try {
      await send("DELETE", `/boot/releases/${encodeURIComponent(tag)}`);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.releases.run();
  }

  /** @param {string} name */
  async remove(name) {
    const text = h("p", null, "Machines that ask for it get 404 from then on.");
    if (!(await confirm({ title: `Delete ${name}?`, text, yes: "Delete the file" }))) return;
    try {
      await send("DELETE", `/boot/${encodeURIComponent(name)}`);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.files.run();
    this.health.run();
  }

  viewFiles() {
    const found = this.files.data;
    const missing = found?.missing ?? [];
    return card(
      "Files that machines boot",
      {},
      failure(this.files),
      !found && !this.files.error && h("p", { class: "muted" }, "Loading…"),
      missing.length > 0 &&
        note("warn", h("p", null, `${plural(missing.length, "file")} of the live environment ${missing.length === 1 ? "is" : "are"} missing: no machine can be flashed yet.`), h("p", null, "Fetch a release, or build them with ", h("code", null, "make media VARIANT=netboot-pc"), " and upload them.")),
      h(
        "ul",
        { class: "lines" },
        missing.map((name) => h("li", { key: name }, h("span", null, h("strong", null, titleOf(name)), h("span", { class: "second source" }, name)), badge("bad", "missing"))),
        (found?.items ?? []).map((file) => this.viewFile(file)),
      ),
      found && h("p", { class: "help" }, "In ", h("code", { class: "source" }, found.boot_root), "."),
    );
  }

  /** @param {import("../api.js").Listed} file */
  viewFile(file) {
    return h(
      "li",
      { key: file.name },
      h("span", null, h("strong", null, titleOf(file.name)), h("span", { class: "second source" }, file.name), h("span", { class: "second" }, bytes(file.size_bytes), ", ", time(file.modified_at), file.sha256 ? [", ", digest(file.sha256)] : "")),
      h(
        "span",
        { class: "actions" },
        h("a", { class: "button small", href: `/boot/${encodeURIComponent(file.name)}`, download: true, "aria-label": `Download ${file.name}` }, "Download"),
        h("button", { type: "button", class: "small danger", "aria-label": `Delete ${file.name}`, onclick: () => this.remove(file.name) }, "Delete"),
      ),
    );
  }

  viewUpload() {
    return card(
      "Upload",
      {},
      h(
        "form",
        { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.upload(event) },
        field({ id: "files", label: "Files", help: "They replace those of the same name, each once it is complete.", problem: this.problem }, (attributes) => h("input", { ...attributes, type: "file", multiple: true, required: true })),
        this.sending && h("div", { class: "flash" }, h("div", { class: "bar", role: "progressbar", "aria-label": `Upload of ${this.sending.name}`, "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": this.sending.percent }, h("div", { class: "bar-fill", style: { "inline-size": `${this.sending.percent}%` } })), h("p", { class: "flash-words" }, `${this.sending.name}: ${this.sending.percent} %`)),
        h("div", { class: "form-actions" }, h("button", { type: "submit", class: "primary", disabled: Boolean(this.sending) }, "Upload")),
      ),
    );
  }
}

function viewDhcp() {
  const { host, hostname } = location;
  return card(
    "What your DHCP server has to say",
    {},
    h("p", { class: "muted" }, `bty runs no DHCP server. Below, ${hostname} is the TFTP server: change it where yours is another. The howto on the network boot has the whole of it, for dnsmasq with proxyDHCP too.`),
    h("h3", null, "PXE"),
    facts([
      ["Option 60", h("code", null, "PXEClient")],
      ["Option 66", h("code", null, hostname)],
      ["Option 67, BIOS", h("code", null, "undionly.kpxe")],
      ["Option 67, UEFI", h("code", null, "ipxe.efi")],
      ["Option 67, iPXE", h("code", { class: "source" }, `http://${host}/pxe-bootstrap.ipxe`)],
    ]),
    h("h3", null, "UEFI HTTP boot"),
    facts([
      ["Option 60", h("code", null, "HTTPClient")],
      ["Option 67", h("code", { class: "source" }, `http://${host}/boot/ipxe.efi`)],
    ]),
  );
}

/** @param {string} name */
function titleOf(name) {
  return TITLES[name] ?? TITLES[name.split(".").at(-1) ?? ""] ?? name;
}
