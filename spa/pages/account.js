// The operator's own: the password, and the tokens that scripts use in its place.

import { get, send } from "../lib/api.js";
import { Load } from "../lib/load.js";
import { h } from "../lib/vdom.js";
import { plural } from "../model/format.js";
import { card, empty, facts, failure, field, heading, note, time } from "../parts/common.js";
import { confirm } from "../parts/dialog.js";

/**
 * @typedef {import("../main.js").App} App
 * @typedef {import("../main.js").Page} Page
 * @typedef {import("../api.js").TokenRow} TokenRow
 * @typedef {import("../lib/api.js").ApiError} Failure
 */

/**
 * @param {App} app
 * @returns {Page}
 */
export function accountPage(app) {
  const page = new AccountView(app);
  return { title: "Account", view: () => page.view() };
}

class AccountView {
  /** @param {App} app */
  constructor(app) {
    this.app = app;
    /** @type {Load<import("../api.js").Account>} */
    this.account = new Load(() => get("/account"), () => app.redraw());
    /** @type {Load<TokenRow[]>} */
    this.tokens = new Load(async () => (await get("/tokens")).items, () => app.redraw());
    /** @type {{name: string, token: string} | null} */
    this.made = null;
    /** @type {Failure | null} */
    this.tokenFailure = null;
    /** @type {Failure | null} */
    this.passwordFailure = null;
    this.mismatch = "";
    this.account.run();
    this.tokens.run();
  }

  /** @param {SubmitEvent} event */
  async makeToken(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    this.tokenFailure = null;
    try {
      this.made = await send("POST", "/tokens", { name: String(new FormData(form).get("token-name")).trim() });
      form.reset();
      this.tokens.run();
    } catch (error) {
      this.tokenFailure = /** @type {Failure} */ (error);
    }
    this.app.redraw();
  }

  /** @param {TokenRow} token */
  async revoke(token) {
    const text = h("p", null, "What uses it gets 401 from now on. This cannot be undone.");
    if (!(await confirm({ title: `End the token ${token.name}?`, text, yes: "End the token" }))) return;
    try {
      await send("DELETE", `/tokens/${token.id}`);
    } catch (error) {
      this.app.notify(/** @type {Error} */ (error).message, "bad");
    }
    this.tokens.run();
  }

  /** @param {SubmitEvent} event */
  async changePassword(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const typed = new FormData(form);
    this.passwordFailure = null;
    this.mismatch = typed.get("new-password") === typed.get("again") ? "" : "The two are not the same.";
    this.app.redraw();
    if (this.mismatch) return;
    try {
      await send("POST", "/account/password", { current: typed.get("current"), new: typed.get("new-password") });
      form.reset();
      this.app.notify("The password was changed. All other logins have ended.");
      this.account.run();
    } catch (error) {
      this.passwordFailure = /** @type {Failure} */ (error);
    }
    this.app.redraw();
  }

  view() {
    return [
      heading("Account"),
      failure(this.account),
      this.account.data?.is_default_password && note("warn", "The well-known password is still set: anybody on the network can log in. Choose another one below."),
      h("div", { class: "columns", key: "columns" }, h("div", { class: "column" }, this.viewTokens()), h("div", { class: "column" }, this.viewPassword(), this.viewSession())),
    ];
  }

  viewTokens() {
    const tokens = this.tokens.data ?? [];
    return card(
      "Tokens for scripts",
      {},
      h("p", { class: "muted" }, "A script sends one as “Authorization: Bearer …” in the place of a login. It may do what you may, but make no tokens and change no password."),
      failure(this.tokens),
      this.made &&
        note(
          "good",
          h("p", null, h("strong", null, this.made.name), ": copy it now. It is shown this once and stored nowhere."),
          h("code", { class: "secret", tabindex: "0" }, this.made.token),
          h("button", { type: "button", class: "small", onclick: () => ((this.made = null), this.app.redraw()) }, "I have it"),
        ),
      tokens.length > 0 &&
        h(
          "ul",
          { class: "lines" },
          tokens.map((token) =>
            h(
              "li",
              { key: token.id },
              h("span", null, h("strong", null, token.name), h("span", { class: "second" }, "made ", time(token.created_at), ", last used ", time(token.last_used_at))),
              h("button", { type: "button", class: "small danger", "aria-label": `End ${token.name}`, onclick: () => this.revoke(token) }, "End"),
            ),
          ),
        ),
      this.tokens.data && tokens.length === 0 && empty("There is no token yet."),
      h(
        "form",
        { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.makeToken(event) },
        field({ id: "token-name", label: "Name of a new token", help: "What uses it: a pipeline, a program, a person.", problem: this.tokenFailure?.message }, (attributes) =>
          h("input", { ...attributes, type: "text", required: true, maxlength: 64, autocomplete: "off" }),
        ),
        h("div", { class: "form-actions" }, h("button", { type: "submit", class: "primary" }, "Make a token")),
      ),
    );
  }

  viewPassword() {
    const account = this.account.data;
    const why = account?.why_fixed;
    /** @type {(id: string, label: string, complete: string, problem?: string) => import("../lib/vdom.js").Child} */
    const password = (id, label, complete, problem) =>
      field({ id, label, problem }, (attributes) => h("input", { ...attributes, type: "password", required: true, maxlength: 1024, autocomplete: complete, disabled: Boolean(why) }));
    return card(
      "Password",
      {},
      why && note("info", `It cannot be changed here: ${why}.`),
      h(
        "form",
        { class: "form", onsubmit: (/** @type {SubmitEvent} */ event) => this.changePassword(event) },
        h("input", { type: "text", name: "username", autocomplete: "username", value: "operator", hidden: true }),
        password("current", "Present password", "current-password"),
        password("new-password", "New password", "new-password", this.passwordFailure?.of("new")),
        password("again", "New password once more", "new-password", this.mismatch),
        this.passwordFailure && note("bad", this.passwordFailure.message),
        h("div", { class: "form-actions" }, h("button", { type: "submit", class: "primary", disabled: Boolean(why) }, "Change the password")),
      ),
    );
  }

  viewSession() {
    const account = this.account.data;
    return card(
      "Logins",
      {},
      account && facts([["Password from", account.password_from], ["Logged in", plural(account.sessions, "browser or script", "browsers and scripts")]]),
      h("form", { method: "post", action: "/ui/logout" }, h("button", { type: "submit" }, "Log out here")),
    );
  }
}
