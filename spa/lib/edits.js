// What was typed into forms and not sent yet, whichever page they belong to.
//
// What a field held when it was entered is remembered; a field that holds something else now is an edit. A search is none.

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Field */

const NO_FIELD = new Set(["submit", "button", "reset"]);

/** Watches the forms within one element. */
export class Edits {
  /** @param {string} place a selector: forms outside of it, in a question for example, do not count */
  constructor(place) {
    this.place = place;
    /** @type {Map<Field, string | boolean>} */
    this.before = new Map();
    /** @type {Set<HTMLFormElement>} */
    this.sent = new Set();
  }

  /** Begin. */
  watch() {
    document.addEventListener("focusin", ({ target }) => this.enter(/** @type {Field} */ (target)));
    document.addEventListener("submit", ({ target }) => this.send(/** @type {HTMLFormElement} */ (target)));
  }

  /** @param {Field} field */
  enter(field) {
    const { form } = field;
    if (!form || !("value" in field) || NO_FIELD.has(field.type) || form.getAttribute("role") === "search" || !form.closest(this.place)) return;
    if (!this.before.has(field)) this.before.set(field, read(field));
  }

  /** @param {HTMLFormElement} form */
  send(form) {
    for (const field of this.before.keys()) if (field.form === form || !field.isConnected) this.before.delete(field);
    this.sent.add(form);
  }

  /** Tell whether something would be lost: an edit that was not sent, or one that was refused, which its form says. */
  any() {
    for (const [field, before] of this.before) if (field.isConnected && read(field) !== before) return true;
    for (const form of this.sent) {
      if (!form.isConnected) this.sent.delete(form);
      else if (form.querySelector("[role=alert]")) return true;
    }
    return false;
  }

  /** Another page is shown: what was typed on the one before is no longer there. */
  forget() {
    this.before.clear();
    this.sent.clear();
  }
}

/** @param {Field} field */
function read(field) {
  return field instanceof HTMLInputElement && (field.type === "checkbox" || field.type === "radio") ? field.checked : field.value;
}
