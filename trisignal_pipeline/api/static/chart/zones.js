/* The gaps that are alive at a moment, as zones from where each was born up to that moment. */

import { primitive } from "./primitive.js";

const COLOURS = {
  "bullish gap": "gapBull",
  "bearish gap": "gapBear",
  "bullish inverse gap": "inverseBull",
  "bearish inverse gap": "inverseBear",
};

export function zonesOn(view) {
  return primitive("bottom", (context, size) => {
    const { history, zones, colours, series, chart } = view;
    if (!history?.length || !zones) return;
    const scale = chart.timeScale();
    const moment = history.candleAt(zones.ts);
    const isNewest = moment === history.length - 1;
    const end = isNewest ? size.width : scale.logicalToCoordinate(moment);
    zones.kind.forEach((kind, row) => {
      const top = series.priceToCoordinate(zones.top[row]);
      const bottom = series.priceToCoordinate(zones.bottom[row]);
      const born = history.candleAt(zones.born[row]);
      const x = born < 0 ? 0 : Math.max(0, scale.logicalToCoordinate(born));
      if (top === null || bottom === null || x >= end || bottom < 0 || top > size.height) return;
      context.fillStyle = colours[COLOURS[kind]];
      context.fillRect(x, top, end - x, Math.max(bottom - top, 1));
    });
    if (!isNewest) {
      context.strokeStyle = colours.moment;
      context.setLineDash([2, 3]);
      context.beginPath();
      context.moveTo(end, 0);
      context.lineTo(end, size.height);
      context.stroke();
    }
  });
}
