// The log of a machine's live environment, which grows while one looks at it.

import { h } from "../lib/vdom.js";
import { card, empty, failure } from "./common.js";

const AT_END_PX = 8;

/** @param {import("../lib/load.js").Load<import("../model/tail.js").Tail>} load */
export function viewLog(load) {
  const tail = load.data;
  return card(
    "Log of the live environment",
    {},
    failure(load),
    tail &&
      (tail.lines.length
        ? h(
            "pre",
            { class: "log", tabindex: "0", role: "log", "aria-label": "Last lines of the log", ref: followEnd },
            tail.lines.map((line, index) => h("span", { key: tail.first + index }, line, "\n")),
          )
        : empty("No lines yet.", h("p", null, "They come while the live environment runs on the machine."))),
  );
}

/**
 * Keep the newest line in view, unless a person has scrolled away from it.
 * @param {HTMLElement} box
 */
function followEnd(box) {
  let isAtEnd = true;
  const toEnd = () => {
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  };
  box.addEventListener("scroll", () => {
    isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
  });
  new MutationObserver(toEnd).observe(box, { childList: true });
  requestAnimationFrame(toEnd);
}
