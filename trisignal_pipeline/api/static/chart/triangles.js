/* Triangles: which of them the filters let pass, and where they are drawn. */

import { primitive, visibleCandles } from "./primitive.js";

const BULL = 1;
const FLAGS = { aligned: 2, engulfing: 4, sweep: 8 };

/* By candle, how many bull and bear triangles lie in it that have all that `filters` asks for. */
export function shown(history, filters) {
  const wanted = Object.keys(FLAGS).reduce((sum, name) => sum + (filters[name] ? FLAGS[name] : 0), 0);
  const counts = new Map();
  const { ts, flags } = history.triangles;
  ts.forEach((instant, row) => {
    if ((flags[row] & wanted) !== wanted) return;
    const candle = history.candleAt(instant);
    if (candle < 0) return;
    const here = counts.get(candle) ?? { bull: 0, bear: 0 };
    here[flags[row] & BULL ? "bull" : "bear"] += 1;
    counts.set(candle, here);
  });
  return counts;
}

/* Bull below the bar, bear above it, each with its number where a candle holds several. */
export function trianglesOn(view) {
  return primitive("top", (context, size) => {
    const { history, counts, colours, series, chart } = view;
    if (!history?.length) return;
    const width = Math.max(3, Math.min(11, chart.timeScale().options().barSpacing * 1.1));
    for (const { candle, x } of visibleCandles(chart, history.length, size.width)) {
      const here = counts.get(candle);
      if (!here) continue;
      if (here.bull) draw(series.priceToCoordinate(history.candles.low[candle]), 1, here.bull);
      if (here.bear) draw(series.priceToCoordinate(history.candles.high[candle]), -1, here.bear);

      function draw(y, down, count) {
        if (y === null) return;
        const tip = y + down * 5;
        const base = tip + down * width * 0.9;
        context.fillStyle = down > 0 ? colours.bull : colours.bear;
        context.beginPath();
        context.moveTo(x, tip);
        context.lineTo(x - width / 2, base);
        context.lineTo(x + width / 2, base);
        context.fill();
        if (count > 1 && width > 8) {
          context.font = "10px system-ui, sans-serif";
          context.textAlign = "center";
          context.textBaseline = down > 0 ? "top" : "bottom";
          context.fillText(String(count), x, base + down * 2);
        }
      }
    }
  });
}
