// What no module of the application does: see test_the_linter_finds_nothing, which gets the ESLint of package-lock.json.
const names = "document window location history localStorage fetch Event EventSource URLSearchParams FormData Element WeakMap Blob Intl Text";
const more = "MutationObserver HTMLInputElement addEventListener dispatchEvent setTimeout clearTimeout setInterval requestAnimationFrame scrollTo console Request Response XMLHttpRequest";

export default [
  {
    files: ["**/*.js"],
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: Object.fromEntries(`${names} ${more}`.split(" ").map((name) => [name, "readonly"])) },
    rules: {
      eqeqeq: "error",
      "no-undef": "error",
      "no-unused-vars": "error",
      "no-shadow": ["error", { allow: ["name", "h"] }],
      "prefer-const": "error",
      "no-var": "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "consistent-return": "off",
      "no-restricted-properties": ["error", ...["innerHTML", "outerHTML", "insertAdjacentHTML", "write"].map((property) => ({ property, message: "text becomes text nodes" }))],
      "max-lines": ["error", 400],
      complexity: ["error", 20],
    },
  },
];
