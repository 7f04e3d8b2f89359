/* The chart itself: candles, volume, and what is drawn around them. */

import {
  CandlestickSeries, createChart, CrosshairMode, HistogramSeries,
} from "../lightweight-charts/lightweight-charts.standalone.production.mjs";

import { breaksOn } from "./breaks.js";
import { ribbonsOn } from "./ribbons.js";
import { SHOWN_PER_PIXEL } from "./timeframes.js";
import { shown, trianglesOn } from "./triangles.js";
import { zonesOn } from "./zones.js";

const RIBBONS_HEIGHT = 104;

/* What the legend covers at the top of the candles, in CSS pixels. */
const LEGEND_HEIGHT = 76;

/* How near to an end of what is loaded more is asked for, in candles. */
const NEAR = 120;

export class View {
  constructor(container, colours) {
    this.chart = createChart(container, {
      autoSize: true,
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 6, minBarSpacing: 0.1 },
      localization: { locale: "en-GB" },
    });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume", priceFormat: { type: "volume" },
      lastValueVisible: false, priceLineVisible: false,
    });
    this.volume.priceScale().applyOptions({ scaleMargins: { top: 0.88, bottom: 0 } });
    this.series = this.chart.addSeries(CandlestickSeries, { borderVisible: false });
    const [candles] = this.chart.panes();
    const ribbons = this.chart.addPane(true);
    this.history = null;
    this.counts = new Map();
    this.zones = null;
    candles.attachPrimitive(zonesOn(this));
    candles.attachPrimitive(breaksOn(this));
    candles.attachPrimitive(trianglesOn(this));
    ribbons.attachPrimitive(ribbonsOn(this));
    ribbons.setHeight(RIBBONS_HEIGHT);
    this.paint(colours);
  }

  /* Show the colours of a theme. */
  paint(colours) {
    this.colours = colours;
    const { page, text, grid, line, rise, fall } = colours;
    this.chart.applyOptions({
      layout: {
        attributionLogo: true, background: { color: page }, textColor: text,
        panes: { separatorColor: line, enableResize: false },
      },
      grid: { vertLines: { color: grid }, horzLines: { color: grid } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
    });
    this.series.applyOptions({ upColor: rise, downColor: fall, wickUpColor: rise, wickDownColor: fall });
    this.volume.applyOptions({ color: line });
  }

  /* Show another history, `around` one of its candles or its newest ones. */
  show(history, filters, tick, around = null) {
    const isFirst = this.history === null;
    this.history = history;
    this.zones = null;
    const digits = Math.max(0, Math.min(8, Math.ceil(-Math.log10(tick ?? 0.01) - 1e-9)));
    this.digits = tick && tick < 1 && tick * 10 ** digits % 1 !== 0 ? digits + 1 : digits;
    this.series.applyOptions({
      priceFormat: { type: "price", precision: this.digits, minMove: tick ?? 0.01 },
    });
    const height = Math.max(this.chart.paneSize(0).height, 200);
    const scaleMargins = { top: Math.min(LEGEND_HEIGHT / height, 0.3), bottom: 0.14 };
    this.series.priceScale().applyOptions({ autoScale: true, scaleMargins });
    this.#fill(filters);
    if (around !== null) this.centre(around, isFirst ? this.#fitting() : null);
    else {
      const last = history.length - 1;
      const from = Math.max(last - this.#fitting(), -4);
      this.chart.timeScale().setVisibleLogicalRange({ from, to: last + 6 });
    }
  }

  /* Show what was added to the history, `before` candles of it before the others. */
  extend(before, filters) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    this.#fill(filters);
    if (range) scale.setVisibleLogicalRange({ from: range.from + before, to: range.to + before });
  }

  filter(filters) {
    this.counts = shown(this.history, filters);
    this.redraw();
  }

  showZones(zones) {
    this.zones = zones;
    this.redraw();
  }

  redraw() {
    // The library paints when an option is set, and knows nothing of what lies outside of it.
    this.chart.applyOptions({});
  }

  /* Move a candle into the middle, and show as many as before unless a number is given. */
  centre(candle, candles = null) {
    const scale = this.chart.timeScale();
    const range = scale.getVisibleLogicalRange();
    const half = (candles ?? (range ? range.to - range.from : this.#fitting())) / 2;
    scale.setVisibleLogicalRange({ from: candle - half, to: candle + half });
  }

  /* Let the cross-hair stand on a candle. */
  point(candle) {
    const { time, close } = this.history.candles;
    // Where a candle lies is known once the library has moved it there.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (this.history?.candles.time[candle] !== time[candle]) return;
      this.chart.setCrosshairPosition(close[candle], time[candle], this.series);
    }));
  }

  /* Which ends of the history are near to being seen. */
  endsNear(range) {
    return {
      earlier: range !== null && range.from < NEAR,
      later: range !== null && range.to > this.history.length - NEAR,
    };
  }

  #fitting() {
    return Math.max(60, this.chart.timeScale().width() * SHOWN_PER_PIXEL);
  }

  #fill(filters) {
    const { time, open, high, low, close, volume } = this.history.candles;
    this.counts = shown(this.history, filters);
    this.series.setData(time.map((at, row) => ({
      time: at, open: open[row], high: high[row], low: low[row], close: close[row],
    })));
    this.volume.setData(time.map((at, row) => ({ time: at, value: volume[row] })));
  }
}
