/* Something drawn by hand on a pane of the chart. */

/* `draw` gets a canvas context and the pane's size, in CSS pixels. */
export function primitive(zOrder, draw) {
  const renderer = {
    draw: (target) =>
      target.useMediaCoordinateSpace(({ context, mediaSize }) => {
        context.save();
        draw(context, mediaSize);
        context.restore();
      }),
  };
  const view = { zOrder: () => zOrder, renderer: () => renderer };
  return { paneViews: () => [view], updateAllViews: () => {} };
}

/* The candles in sight, each with the middle of its place. */
export function* visibleCandles(chart, length, width) {
  const scale = chart.timeScale();
  const first = Math.max(0, Math.floor(scale.coordinateToLogical(0) ?? 0) - 1);
  const last = Math.min(length - 1, Math.ceil(scale.coordinateToLogical(width) ?? -1) + 1);
  for (let candle = first; candle <= last; candle += 1) {
    yield { candle, x: scale.logicalToCoordinate(candle) };
  }
}
