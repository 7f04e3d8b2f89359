/* Where a session opens and where the contract changes, as lines from top to bottom. */

import { primitive } from "./primitive.js";

/* Where sessions lie nearer to each other than this, only those that open a week are marked. */
const LEAST_DISTANCE = 60;
const MONDAY = 1;

/* Names stand above the volume, which begins at this part of the height. */
const CLEAR = 0.88;

export function breaksOn(view) {
  return primitive("top", (context, size) => {
    const { history, colours, chart } = view;
    if (!history?.length) return;
    const scale = chart.timeScale();
    const spacing = scale.options().barSpacing;
    const placeOf = (candle) => scale.logicalToCoordinate(candle) - spacing / 2;
    const inSight = (x) => x > -100 && x < size.width;
    context.font = "10px system-ui, sans-serif";
    context.textBaseline = "bottom";
    const seen = history.breaks.map((one) => ({ ...one, x: placeOf(one.candle) }))
      .filter(({ x }) => inSight(x));
    const isDense = seen.length * LEAST_DISTANCE > size.width;
    for (const { x, date } of history.tf === "1d" ? [] : seen) {
      if (isDense && new Date(date).getUTCDay() !== MONDAY) continue;
      line(x, colours.session, []);
      label(date.slice(5), x, size.height * CLEAR - 2, colours.quiet);
    }
    for (const { candle, from, to } of history.rolls) {
      const x = placeOf(candle);
      if (!inSight(x)) continue;
      line(x, colours.roll, [6, 4]);
      label(`${from} → ${to}`, x, size.height * CLEAR - 18, colours.roll);
    }

    function line(x, colour, dashes) {
      context.strokeStyle = colour;
      context.setLineDash(dashes);
      context.beginPath();
      context.moveTo(Math.round(x) + 0.5, 0);
      context.lineTo(Math.round(x) + 0.5, size.height);
      context.stroke();
    }

    function label(text, x, y, colour) {
      context.fillStyle = colours.page;
      context.fillRect(x + 2, y - 13, context.measureText(text).width + 4, 13);
      context.fillStyle = colour;
      context.fillText(text, x + 4, y);
    }
  });
}
