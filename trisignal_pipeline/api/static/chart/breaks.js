/* Where a session opens and where the contract changes, as lines from top to bottom. */

import { primitive } from "./primitive.js";

const LEAST_DISTANCE = 46;

export function breaksOn(view) {
  return primitive("bottom", (context, size) => {
    const { history, colours, chart } = view;
    if (!history?.length) return;
    const scale = chart.timeScale();
    const spacing = scale.options().barSpacing;
    const placeOf = (candle) => scale.logicalToCoordinate(candle) - spacing / 2;
    const inSight = (x) => x > -200 && x < size.width;
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    let latest = -Infinity;
    for (const { candle, date } of history.tf === "1d" ? [] : history.breaks) {
      const x = placeOf(candle);
      if (!inSight(x)) continue;
      line(x, colours.session, []);
      if (x - latest < LEAST_DISTANCE) continue;
      latest = x;
      context.fillStyle = colours.quiet;
      context.fillText(date.slice(5), x + 4, size.height - 2);
    }
    for (const { candle, from, to } of history.rolls) {
      const x = placeOf(candle);
      if (!inSight(x)) continue;
      line(x, colours.roll, [6, 4]);
      context.fillStyle = colours.roll;
      context.fillText(`${from} → ${to}`, x + 4, size.height - 16);
    }

    function line(x, colour, dashes) {
      context.strokeStyle = colour;
      context.setLineDash(dashes);
      context.beginPath();
      context.moveTo(Math.round(x) + 0.5, 0);
      context.lineTo(Math.round(x) + 0.5, size.height);
      context.stroke();
    }
  });
}
