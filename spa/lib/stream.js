// What the daemon tells while it happens: one connection for the whole application. See docs/reference/stream.md.

import { get } from "./api.js";

const NAMES = ["hello", "machine", "machine-deleted", "progress", "event", "acknowledged", "catalog", "job", "log", "resync"];
const RETRY_MS = 5000;
const POLL_MS = 10_000;

/**
 * @typedef {(name: string, data: any) => void} Listener
 * @typedef {"waiting" | "live" | "lost"} State
 */

/** Keeps a connection to `/events/stream` and tells what comes; where none can be had, asks for a fresh look now and then. */
export class Stream {
  /**
   * @param {Listener} listener
   * @param {(state: State) => void} onState
   */
  constructor(listener, onState) {
    this.listener = listener;
    this.onState = onState;
    /** @type {State} */
    this.state = "waiting";
    /** @type {EventSource | undefined} */
    this.source = undefined;
    this.wasLive = false;
  }

  /** Connect, and keep doing so. */
  open() {
    const source = new EventSource("/events/stream");
    this.source = source;
    for (const name of NAMES) {
      source.addEventListener(name, (message) => this.take(name, JSON.parse(/** @type {MessageEvent} */ (message).data)));
    }
    source.onerror = () => this.fail(source);
  }

  /**
   * @param {string} name
   * @param {any} data
   */
  take(name, data) {
    if (name === "hello") {
      this.change("live");
      // The first one comes right after the page has fetched what it shows.
      if (this.wasLive && !data.resumed) this.listener("resync", { reason: "reconnected" });
      this.wasLive = true;
    }
    this.listener(name, data);
  }

  /** @param {EventSource} source */
  fail(source) {
    this.change("lost");
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    source.close();
    setTimeout(() => this.open(), RETRY_MS);
    // Refused for good: too many clients, a login that ended, or no such route. The answer to a question tells.
    this.ask();
  }

  /** Look once instead of listening: a login that ended shows itself, a page brings itself up to date. */
  async ask() {
    if (document.visibilityState !== "visible" || Date.now() - (this.askedAt ?? 0) < POLL_MS) return;
    this.askedAt = Date.now();
    try {
      await get("/machines?per_page=1");
      this.listener("resync", { reason: "no stream" });
    } catch {
      // Not even that: the state says so already.
    }
  }

  /** @param {State} state */
  change(state) {
    if (this.state === state) return;
    this.state = state;
    this.onState(state);
  }
}
