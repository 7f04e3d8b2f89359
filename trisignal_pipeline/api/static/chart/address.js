/* What is shown, in the address of the page: it can be kept, sent, and gone back to. */

import { TIMEFRAMES } from "./timeframes.js";
import { fromIso, toIso } from "./times.js";

export const FILTERS = ["aligned", "engulfing", "sweep"];

export function readAddress() {
  const asked = new URLSearchParams(location.search);
  const tf = asked.get("tf");
  const at = fromIso(asked.get("at") ?? "");
  return {
    symbol: asked.get("symbol"),
    tf: TIMEFRAMES.includes(tf) ? tf : "1m",
    at: Number.isFinite(at) ? at - (at % 60) : null,
    gaps: asked.get("gaps") ?? "chart",
    filters: Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) === "true"])),
  };
}

export function writeAddress({ symbol, tf, at, gaps, filters }) {
  const told = new URLSearchParams({ symbol, tf });
  if (at !== null) told.set("at", toIso(at));
  if (gaps !== "chart") told.set("gaps", gaps);
  for (const name of FILTERS) if (filters[name]) told.set(name, "true");
  // A symbol's colon may stand in a query as it is.
  history.replaceState(null, "", `?${told.toString().replaceAll("%3A", ":")}`);
}
