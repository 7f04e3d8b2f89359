/* The keys of the page. */

import { TIMEFRAMES } from "./timeframes.js";

/* Call what a key stands for. `actions` has a function for each of those below. */
export function listenToKeys(actions) {
  const byKey = {
    n: actions.next, p: actions.previous, ArrowRight: () => actions.step(1),
    ArrowLeft: () => actions.step(-1), g: actions.goTo, End: actions.newest,
    a: () => actions.filter("aligned"), e: () => actions.filter("engulfing"),
    s: () => actions.filter("sweep"), t: actions.theme, "?": actions.help, Escape: actions.letGo,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea, dialog");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const tf = TIMEFRAMES[Number(event.key) - 1];
    const action = tf ? () => actions.timeframe(tf) : byKey[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
