// Addresses: which page one belongs to, and going there without leaving the document.

/**
 * @typedef {{pattern: RegExp, name: string}} Route
 */

/**
 * Return the route of *path* and what its pattern found, or null.
 * @param {Route[]} routes
 * @param {string} path
 */
export function match(routes, path) {
  for (const route of routes) {
    const found = route.pattern.exec(path);
    if (found) return { name: route.name, params: found.groups ?? {} };
  }
  return null;
}

/**
 * Call *onChange* whenever the address changes: by a link, by `go`, by back and forward.
 *
 * Before a person leaves for another page *mayLeave* is asked where *isEdited* says that something there would be lost.
 * @param {() => void} onChange
 * @param {{isEdited: () => boolean, mayLeave: () => Promise<boolean>}} guard
 */
export function watch(onChange, { isEdited, mayLeave }) {
  let page = location.pathname;
  history.replaceState({ at: history.state?.at ?? 0 }, "");
  let at = history.state.at;
  /** @type {"ask" | "back" | "go"} what the next step through the history is */
  let step = "ask";
  const arrive = () => {
    page = location.pathname;
    at = history.state?.at ?? at;
    onChange();
  };
  addEventListener("popstate", async (event) => {
    const by = (event.state?.at ?? at) - at;
    const [asked, to] = [step, location.pathname];
    step = "ask";
    if (asked === "back") return;
    if (asked === "go" || to === page || !by || !isEdited()) return arrive();
    // The browser has left already: go back to what is still shown, and ask there.
    step = "back";
    history.go(-by);
    if (!(await mayLeave())) return;
    step = "go";
    history.go(by);
  });
  addEventListener("bty:go", arrive);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const within = link.getAttribute("href");
    if (within?.startsWith("#")) {
      // A place on this page. The fragment of the address is what is chosen, and stays.
      event.preventDefault();
      document.getElementById(within.slice(1))?.focus();
      return;
    }
    if (link.origin !== location.origin || !link.pathname.startsWith("/ui/") || link.target || link.hasAttribute("download")) return;
    if (link.pathname.startsWith("/ui/log")) return;
    event.preventDefault();
    const leave = () => go(link.pathname + link.search + link.hash);
    if (link.pathname === page || !isEdited()) leave();
    else mayLeave().then((yes) => yes && leave());
  });
}

/**
 * Go to an address of this application; with *replace* the present one is not kept in the history.
 * @param {string} address
 * @param {{replace?: boolean}} [options]
 */
export function go(address, options) {
  const at = history.state?.at ?? 0;
  if (options?.replace) history.replaceState({ at }, "", address);
  else history.pushState({ at: at + 1 }, "", address);
  dispatchEvent(new Event("bty:go"));
}
