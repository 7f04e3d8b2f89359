/* Six ribbons below the candles: the bias of each timeframe as known at each candle's close; and
   below them a line for minutes that were corrected or kept out. */

import { primitive, visibleCandles } from "./primitive.js";
import { TIMEFRAMES } from "./timeframes.js";

export const ROWS = [...TIMEFRAMES, "data"];
const GAP = 2;

export function ribbonsOn(view) {
  return primitive("normal", (context, size) => {
    const { history, colours, chart } = view;
    if (!history) return;
    const height = size.height / ROWS.length;
    const spacing = chart.timeScale().options().barSpacing;
    context.globalAlpha = 0.8;
    const byCode = [colours.neutral, colours.bull, colours.bear, null];
    const places = [...visibleCandles(chart, history.length, size.width)];
    TIMEFRAMES.forEach((_, row) => {
      fillRuns(places, ({ candle }) => byCode[history.codes[candle][row]], row);
    });
    context.globalAlpha = 1;
    const row = TIMEFRAMES.length;
    for (const { candle, x } of places) {
      const colour = history.quarantined.has(candle) ? colours.quarantined
        : history.corrected.has(candle) ? colours.corrected : null;
      if (!colour) continue;
      const width = Math.max(spacing, 2);
      context.fillStyle = colour;
      context.fillRect(x - width / 2, row * height + GAP / 2, width, height - GAP);
    }
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "middle";
    ROWS.forEach((name, at) => {
      const width = context.measureText(name).width + 8;
      context.fillStyle = colours.page;
      context.fillRect(0, at * height, width, height);
      context.fillStyle = colours.quiet;
      context.fillText(name, 4, (at + 0.5) * height);
    });

    function fillRuns(all, colourOf, at) {
      let begun = null;
      all.forEach((place, index) => {
        const colour = colourOf(place);
        if (begun === null || begun.colour !== colour) {
          end(place.x - spacing / 2);
          begun = { colour, x: place.x - spacing / 2 };
        }
        if (index === all.length - 1) end(place.x + spacing / 2);
      });

      function end(x) {
        if (begun === null || begun.colour === null) return;
        context.fillStyle = begun.colour;
        context.fillRect(begun.x, at * height + GAP / 2, x - begun.x, height - GAP);
      }
    }
  });
}
