// Something fetched that a page shows: what is known, whether more is on its way, and why it did not come.

/** @template T */
export class Load {
  /**
   * @param {() => Promise<T>} fetcher
   * @param {() => void} onChange
   */
  constructor(fetcher, onChange) {
    this.fetcher = fetcher;
    this.onChange = onChange;
    /** @type {T | undefined} */
    this.data = undefined;
    /** @type {Error | undefined} */
    this.error = undefined;
    this.loading = false;
    this.turn = 0;
  }

  /** Fetch; what was known stays until the answer is there, and an answer that a later one has overtaken is dropped. */
  async run() {
    const turn = ++this.turn;
    this.loading = true;
    this.onChange();
    try {
      const data = await this.fetcher();
      if (turn !== this.turn) return;
      this.data = data;
      this.error = undefined;
    } catch (error) {
      if (turn !== this.turn) return;
      this.error = /** @type {Error} */ (error);
    }
    this.loading = false;
    this.onChange();
  }

  /**
   * Fetch soon, and once for many calls in a row; not before an answer that is still to come, so that a slow daemon is not asked twice.
   * @param {number} [delay_ms]
   */
  soon(delay_ms = 300) {
    if (this.timer !== undefined) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (this.loading) this.soon(delay_ms);
      else this.run();
    }, delay_ms);
  }

  /** Forget about answers that are still to come. */
  stop() {
    this.turn += 1;
    this.loading = false;
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
