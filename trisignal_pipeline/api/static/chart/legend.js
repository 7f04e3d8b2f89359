/* The world state at a candle, in a line above the chart: all from what is loaded. */

import { element } from "./elements.js";
import { TIMEFRAMES } from "./timeframes.js";
import { written } from "./times.js";

const NAMES = ["Neutral", "Bullish", "Bearish", "not computed"];

function triangleText({ bull, bear }) {
  const parts = [[bull, "bull"], [bear, "bear"]].filter(([count]) => count);
  return parts.map(([count, name]) => (count > 1 ? `${count} ${name}` : name)).join(" and ");
}

export function legend(history, candle, counts, digits) {
  const { time, open, high, low, close, volume, contract } = history.candles;
  const price = (value) => value.toFixed(digits);
  const change = close[candle] >= open[candle] ? "Bullish" : "Bearish";
  const here = counts.get(candle);
  const session = history.tradeDateOf(candle);
  const first = element("div", {},
    element("b", { text: `${contract[candle] ?? ""} ${history.tf} ` }),
    `${written(time[candle], true)} `,
    element("span", { class: change,
      text: `O ${price(open[candle])} H ${price(high[candle])} L ${price(low[candle])} `
        + `C ${price(close[candle])}` }),
    ` V ${volume[candle].toLocaleString("en")}`,
    element("span", { class: "quiet", text: session ? ` session ${session}` : "" }));
  const second = element("div", {}, ...TIMEFRAMES.flatMap((tf, row) => {
    const name = NAMES[history.codes[candle][row]];
    const told = element("span", { class: name.split(" ")[0], text: name });
    // The blank lets a narrow line wrap.
    return [element("span", { class: "bias" }, `${tf} `, told), " "];
  }));
  const notes = [];
  if (here) notes.push(element("b", { text: `triangle: ${triangleText(here)} ` }));
  const corrected = history.corrected.get(candle);
  const quarantined = history.quarantined.get(candle);
  if (corrected) notes.push(element("span", { class: "warning", text: `${corrected.length} corrected ` }));
  if (quarantined) {
    notes.push(element("span", { class: "warning", text: `${quarantined.length} quarantined` }));
  }
  return [first, second, element("div", {}, ...notes)];
}
