/* Light and dark: what the system prefers, until the switch was used. */

const KEPT = "trisignal-theme";
const NAMES = {
  page: "--page", text: "--text", quiet: "--quiet", line: "--line", grid: "--grid",
  rise: "--rise", fall: "--fall", bull: "--bull", bear: "--bear", neutral: "--neutral",
  gapBull: "--gap-bull", gapBear: "--gap-bear", inverseBull: "--inverse-bull",
  inverseBear: "--inverse-bear", session: "--session", roll: "--roll",
  corrected: "--corrected", quarantined: "--quarantined", moment: "--moment",
};
const system = matchMedia("(prefers-color-scheme: dark)");

const current = () => localStorage.getItem(KEPT) ?? (system.matches ? "dark" : "light");

/* The colours of the theme that is shown. */
export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    Object.entries(NAMES).map(([name, variable]) => [name, style.getPropertyValue(variable).trim()]),
  );
}

function show(changed) {
  document.documentElement.dataset.theme = current();
  changed?.(colours());
}

/* Show the theme, and tell `changed` the colours whenever it is another. */
export function followTheme(changed) {
  show();
  system.addEventListener("change", () => show(changed));
}

export function switchTheme(changed) {
  localStorage.setItem(KEPT, current() === "dark" ? "light" : "dark");
  show(changed);
}
