/* The candles that are loaded and what lies around them, in columns; more is added at either end. */

import { countUpTo } from "./order.js";
import * as server from "./server.js";
import { CHUNK, SECONDS, TIMEFRAMES } from "./timeframes.js";
import { fromIso } from "./times.js";

const NOT_COMPUTED = 3;

const newColumns = () => ({
  time: [], open: [], high: [], low: [], close: [], volume: [], contract: [],
});

function joined(parts) {
  const whole = newColumns();
  for (const name of Object.keys(whole)) whole[name] = parts.flatMap((part) => part[name]);
  return whole;
}

async function load(symbol, tf, start, end, signal) {
  const [pages, marks] = await Promise.all([
    server.bars(symbol, tf, start, end, signal),
    server.marks(symbol, start, end, signal),
  ]);
  const candles = joined(pages.map((page) => ({ ...page, time: page.ts.map(fromIso) })));
  return { candles, marks };
}

export class History {
  constructor(symbol, tf, firstDate, lastDate) {
    this.symbol = symbol;
    this.tf = tf;
    this.first = fromIso(`${firstDate}T00:00:00Z`);
    this.last = fromIso(`${lastDate}T00:00:00Z`) + 86_400;
    this.candles = newColumns();
    this.parts = [];
  }

  get length() {
    return this.candles.time.length;
  }

  /* Load what surrounds an instant; null for the newest bars. */
  async open(at, signal) {
    const chunk = CHUNK[this.tf];
    const end = at === null ? this.last : Math.min(this.last, at - (at % 60) + chunk / 2);
    this.start = this.end = Math.max(end, this.first);
    this.parts = [];
    while (!this.length && this.start > this.first) await this.#addBefore(signal);
    this.#index();
  }

  /* Load the chunk before what is loaded; how many candles came. */
  async addEarlier(signal) {
    const before = this.length;
    while (this.start > this.first && this.length === before) await this.#addBefore(signal);
    this.#index();
    return this.length - before;
  }

  /* Load the chunk after what is loaded; how many candles came. */
  async addLater(signal) {
    const before = this.length;
    while (this.end < this.last && this.length === before) {
      const end = Math.min(this.end + CHUNK[this.tf], this.last);
      const part = await load(this.symbol, this.tf, this.end, end, signal);
      this.end = end;
      this.#join([this.candles, part.candles]);
      this.parts.push(part.marks);
    }
    this.#index();
    return this.length - before;
  }

  async #addBefore(signal) {
    const start = Math.max(this.start - CHUNK[this.tf], this.first - 86_400);
    const part = await load(this.symbol, this.tf, start, this.start, signal);
    this.start = start;
    this.#join([part.candles, this.candles]);
    this.parts.unshift(part.marks);
  }

  #join(parts) {
    this.candles = joined(parts);
  }

  /* The candle that an instant lies in, or the last one before it; -1 before the first. */
  candleAt(instant) {
    return countUpTo(this.candles.time, instant) - 1;
  }

  /* Where what a candle stands for ends: what lies between it and the next one is its own. */
  endOf(candle) {
    const { time } = this.candles;
    return time[candle + 1] ?? time[candle] + SECONDS[this.tf];
  }

  /* The trade date of the session that a candle opens in; null before the first session. */
  tradeDateOf(candle) {
    return this.sessions.date[countUpTo(this.sessions.open, this.candles.time[candle]) - 1] ?? null;
  }

  /* The six biases known at the close of a candle, as codes: neutral, bullish, bearish, unknown. */
  biasesOf(candle) {
    const rows = this.biases;
    const row = countUpTo(rows.ts, this.endOf(candle) - 1) - 1;
    return TIMEFRAMES.map((tf) => (row < 0 ? NOT_COMPUTED : rows[tf][row]));
  }

  #index() {
    const all = (name, column) => this.parts.flatMap((part) => part[name][column]);
    this.biases = { ts: all("biases", "ts") };
    for (const tf of TIMEFRAMES) this.biases[tf] = all("biases", tf);
    this.triangles = { ts: all("triangles", "ts"), flags: all("triangles", "flags") };
    this.sessions = { open: all("sessions", "open"), date: all("sessions", "trade_date") };
    this.codes = this.candles.time.map((_, candle) => this.biasesOf(candle));
    const { contract } = this.candles;
    this.rolls = contract
      .map((name, candle) => ({ candle, from: contract[candle - 1], to: name }))
      .filter(({ candle, from, to }) => candle > 0 && from && to && from !== to);
    this.breaks = this.sessions.open
      .map((open, row) => ({ candle: countUpTo(this.candles.time, open - 1), row }))
      .filter(({ candle, row }) => candle < this.length && candle > 0
        && this.candleAt(this.sessions.open[row + 1] ?? Infinity) >= candle)
      .map(({ candle, row }) => ({ candle, date: this.sessions.date[row] }));
    this.corrected = this.#reasons("revisions", "kind");
    this.quarantined = this.#reasons("quarantined", "rules");
  }

  /* By candle: the minutes of `name` in it, each with what is told of it. */
  #reasons(name, column) {
    const found = new Map();
    for (const part of this.parts) {
      part[name].ts.forEach((ts, row) => {
        const candle = Math.max(this.candleAt(ts), 0);
        if (!found.has(candle)) found.set(candle, []);
        found.get(candle).push({ ts, why: part[name][column][row] });
      });
    }
    return found;
  }
}
