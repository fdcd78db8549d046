// Light, dark, or as the system has it: a choice of this browser.

const KEY = "bty-theme";
const ORDER = /** @type {const} */ (["auto", "light", "dark"]);

/** @returns {"auto" | "light" | "dark"} */
export function theme() {
  const kept = localStorage.getItem(KEY);
  return ORDER.find((name) => name === kept) ?? "auto";
}

/** Choose the next of the three. */
export function nextTheme() {
  localStorage.setItem(KEY, ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length]);
  applyTheme();
}

/** Make the page look as chosen. */
export function applyTheme() {
  document.documentElement.dataset.theme = theme();
}
