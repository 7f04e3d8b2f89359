/* Why a minute is as it is: its explanation, in words. */

import { element } from "./elements.js";
import { TIMEFRAMES } from "./timeframes.js";
import { fromIso, written } from "./times.js";

const bias = (name) => element("span", { class: name, text: name });

const gapText = (gap) => `${gap.kind} ${gap.bottom}–${gap.top} of ${written(fromIso(gap.born))}`;

function firingText({ rule, level, gap }) {
  if (rule === "new gap") return `new ${gapText(gap)}`;
  if (rule === "inversion") return `close beyond ${level} inverts the ${gapText(gap)}`;
  if (rule === "invalidation") return `close beyond ${level} ends the ${gapText(gap)}`;
  return `${rule}: close beyond ${level}`;
}

function timeframeRow(tf, view) {
  const changed = view.bias_before !== view.bias_after;
  const told = element("ul");
  for (const finished of view.finished) {
    const late = finished.late ? ", finished late" : "";
    if (tf !== "1m") {
      const opened = written(fromIso(finished.bar.ts));
      told.append(element("li", { class: "quiet", text: `finished the bar of ${opened}${late}` }));
    }
    for (const firing of finished.fired) told.append(element("li", { text: firingText(firing) }));
  }
  if (!view.finished.some(({ fired }) => fired.length)) {
    const text = view.finished.length ? "no rule applied" : "its bar isn't finished";
    told.append(element("li", { class: "quiet", text }));
  }
  for (const [text, gap] of [["above", view.gap_above], ["below", view.gap_below]]) {
    if (gap) told.append(element("li", { class: "quiet", text: `${text}: ${gapText(gap)}` }));
  }
  return element("tr", {},
    element("th", { scope: "row", text: tf }),
    element("td", {},
      element("div", {},
        ...(changed ? [bias(view.bias_before), " → "] : []), bias(view.bias_after),
        element("span", { class: "quiet", text: ` · ${view.gaps_alive} gaps alive` })),
      told));
}

function filterText([name, { on, passed }]) {
  const verdict = passed === null ? "no flip to judge" : passed ? "passes" : "doesn't pass";
  return `${name} (${on ? "on" : "off"}): ${verdict}`;
}

function notesOf(kept) {
  return kept.map(({ name, ts, why }) => {
    const reason = Array.isArray(why) ? why.join(", ") : why;
    return element("p", { class: "warning", text: `${written(ts)} ${name}: ${reason}` });
  });
}

/* The explanation of a minute for a panel; `kept` is what was corrected or kept out in its candle. */
export function explanation(world, kept) {
  const why = world.explanation;
  const engulfing = Object.entries(why.engulfing).filter(([, is]) => is).map(([name]) => name);
  const { bar, stored } = why;
  return [
    element("h2", { text: `${written(fromIso(world.ts), true)} UTC` }),
    element("p", { class: "quiet", text: `${why.contract}, from ${why.source_table}` }),
    element("p", {
      text: `open ${bar.open} high ${bar.high} low ${bar.low} close ${bar.close} volume ${bar.volume}`,
    }),
    element("p", { class: why.triangle ?? "", text: why.decision }),
    ...notesOf(kept),
    why.session
      ? element("p", { class: "quiet",
        text: `session of ${why.session.trade_date}, ${written(fromIso(why.session.open))} to `
          + `${written(fromIso(why.session.close))}` })
      : element("p", { class: "warning", text: "outside of every session" }),
    element("table", {}, ...TIMEFRAMES.map((tf) => timeframeRow(tf, why.timeframes[tf]))),
    element("p", { text: engulfing.length
      ? `The bar is engulfing: ${engulfing.join(", ").replaceAll("_", " ")}.`
      : "The bar engulfs nothing." }),
    element("p", { text: `Higher timeframes (${why.aligned_timeframes.join(", ")}): `
      + `${why.htf_bullish ? "all bullish" : why.htf_bearish ? "all bearish" : "not aligned"}.` }),
    element("p", { class: "quiet", text: Object.entries(why.filters).map(filterText).join("; ") }),
    stored.computed
      ? element("p", { class: stored.agrees && !stored.in_doubt ? "quiet" : "warning",
        text: stored.in_doubt ? "In doubt: bars or rules changed since its signal was computed."
          : stored.agrees ? "What is stored says the same." : stored.differences.join("; ") })
      : element("p", { class: "warning", text: "Its signal isn't computed yet." }),
    why.calendar_warning ? element("p", { class: "warning", text: why.calendar_warning }) : null,
  ].filter((one) => one !== null);
}
