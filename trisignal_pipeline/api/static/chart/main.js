/* The page: what was asked for, what is loaded, and what is shown of it. */

import { FILTERS, readAddress, writeAddress } from "./address.js";
import { byId, element } from "./elements.js";
import { History } from "./history.js";
import { listenToKeys } from "./keys.js";
import { legend } from "./legend.js";
import * as server from "./server.js";
import { colours, followTheme, switchTheme } from "./theme.js";
import { TIMEFRAMES } from "./timeframes.js";
import { fromField, written } from "./times.js";
import { View } from "./view.js";
import { explanation } from "./why.js";

/* How long the cross-hair rests before its minute is explained. */
const REST_MS = 220;

const asked = readAddress();
let markets = null;
let history = null;
let chosen = null; // the candle that was clicked or jumped to
let loading = null; // what ends the loading that is under way
let explaining = null;
let resting = 0;
let isExtending = false;

followTheme((changed) => view.paint(changed));
const view = new View(byId("chart"), colours());

function say(text, { brief = false } = {}) {
  byId("status").textContent = text;
  byId("status").classList.toggle("brief", brief);
}

/* Say what went wrong, or ask for the token where that is what is missing. */
function tell(error) {
  if (error.name === "AbortError") return;
  if (error.status === 401) byId("token").showModal();
  else if (error instanceof server.Refusal) say(error.message);
  else {
    say("The page failed; its console says where.");
    console.error(error);
  }
}

const attempt = (work) => (...given) => Promise.resolve(work(...given)).catch(tell);

const market = () => markets?.symbol.indexOf(asked.symbol) ?? -1;

/* Load and show the symbol and timeframe that are asked for. */
const open = attempt(async () => {
  loading?.abort();
  loading = new AbortController();
  const { signal } = loading;
  markets ??= await server.markets();
  asked.symbol ??= markets.symbol[0] ?? null;
  showControls();
  const row = market();
  if (row < 0 && asked.symbol !== null) return nothing(`There is no symbol ${asked.symbol} here. Choose one of the list above.`);
  if (row < 0) return nothing("The registry holds no active symbol. Add one: trisignal symbols add.");
  if (markets.first_date[row] === null) {
    return nothing(`No bars of ${asked.symbol} are stored yet. Backfill some: trisignal backfill `
      + `${asked.symbol}. To see an invented market: trisignal demo.`);
  }
  writeAddress(asked);
  say("Loading …");
  const loaded = new History(asked.symbol, asked.tf, markets.first_date[row], markets.last_date[row]);
  await loaded.open(asked.at, signal);
  if (signal.aborted) return undefined;
  if (!loaded.length) return nothing(`There are no bars of ${asked.symbol} at or before that time.`);
  history = loaded;
  say("");
  const around = asked.at === null ? null : history.candleAt(asked.at);
  chosen = null;
  view.show(history, asked.filters, markets.tick_size[row], around);
  requestAnimationFrame(() => performance.mark("shown"));
  document.body.dataset.candles = String(history.length);
  if (around !== null && around >= 0) choose(around, asked.at);
  else {
    showState(history.length - 1);
    explain(history.length - 1);
    showZones();
  }
  extend(view.chart.timeScale().getVisibleLogicalRange());
  return undefined;
});

function nothing(text) {
  history = null;
  document.body.dataset.candles = "0";
  view.series.setData([]);
  view.volume.setData([]);
  view.history = null;
  view.zones = null;
  byId("legend").replaceChildren();
  byId("why").replaceChildren();
  say(text);
}

function showControls() {
  document.title = `${asked.symbol ?? "trisignal"} ${asked.tf}`;
  const symbols = markets?.symbol ?? [];
  byId("symbol").replaceChildren(...symbols.map((name) => element("option", { text: name })));
  byId("symbol").value = asked.symbol;
  byId("gaps").value = asked.gaps;
  for (const name of FILTERS) byId(name).checked = asked.filters[name];
  for (const button of byId("timeframes").children) {
    button.setAttribute("aria-pressed", String(button.textContent === asked.tf));
  }
  if (asked.at !== null) byId("date").value = written(asked.at);
}

/* Load more where what is loaded ends near what is seen. */
const extend = attempt(async (range) => {
  if (!history || isExtending) return;
  const ends = view.endsNear(range);
  const here = history;
  isExtending = true;
  try {
    const signal = loading?.signal;
    const before = ends.earlier ? await here.addEarlier(signal) : 0;
    const after = ends.later && here.end < here.last ? await here.addLater(signal) : 0;
    if (here !== history || !(before || after)) return;
    if (chosen !== null) chosen += before;
    view.extend(before, asked.filters);
    document.body.dataset.candles = String(history.length);
  } finally {
    isExtending = false;
  }
});

function showState(candle) {
  if (!history || candle < 0 || candle >= history.length) return;
  byId("legend").replaceChildren(...legend(history, candle, view.counts, view.digits));
}

/* The minute at whose close everything of a candle is known. */
const momentOf = async (candle, signal) =>
  history.tf === "1m" ? history.candles.time[candle]
    : server.lastBar(asked.symbol, history.endOf(candle), signal);

const explain = attempt(async (candle, minute = null) => {
  explaining?.abort();
  explaining = new AbortController();
  const { signal } = explaining;
  const kept = ["corrected", "quarantined"].flatMap((name) =>
    (history[name].get(candle) ?? []).map((one) => ({ name, ...one })));
  const ts = minute ?? await momentOf(candle, signal);
  const panel = byId("why");
  try {
    panel.replaceChildren(...explanation(await server.world(asked.symbol, ts, signal), kept));
    panel.dataset.ts = String(ts);
    panel.scrollTop = 0;
  } catch (error) {
    if (!(error instanceof server.Refusal) || error.status !== 404) throw error;
    panel.replaceChildren(element("p", { text: error.message }));
  }
});

/* Show the gaps that are alive at the chosen moment, or after the newest bar. */
const showZones = attempt(async (minute = null) => {
  if (!history) return;
  const tf = asked.gaps === "chart" ? asked.tf : asked.gaps;
  if (tf === "none") return view.showZones(null);
  const here = history;
  const ts = minute ?? await momentOf(chosen ?? history.length - 1);
  try {
    const found = await server.gaps(asked.symbol, tf, ts);
    if (here === history) view.showZones({ ...found, ts });
  } catch (error) {
    if (error.status !== 404) throw error;
    view.showZones(null);
  }
  return undefined;
});

/* Stay on a candle, or on one of its minutes: explain it, and show the gaps of then. */
function choose(candle, minute = null) {
  if (!history || candle < 0 || candle >= history.length) return;
  const { time } = history.candles;
  const isInside = minute !== null && minute >= time[candle] && minute < history.endOf(candle);
  const exact = isInside && (history.tf !== "1m" || minute === time[candle]) && minute !== time[candle]
    ? minute : null;
  chosen = candle;
  asked.at = exact ?? time[candle];
  byId("date").value = written(asked.at);
  writeAddress(asked);
  view.point(candle);
  showState(candle);
  explain(candle, exact);
  showZones(exact);
}

function letGo() {
  chosen = null;
  asked.at = null;
  view.chart.clearCrosshairPosition();
  say("");
  if (history) {
    writeAddress(asked);
    showState(history.length - 1);
    explain(history.length - 1);
    showZones();
  }
}

/* Go to an instant, loaded or not. */
const goTo = attempt(async (instant) => {
  if (!history) return;
  asked.at = instant;
  const { time } = history.candles;
  if (instant < time[0] || (instant >= history.endOf(history.length - 1) && history.end < history.last)) {
    await open();
    if (history && instant < history.candles.time[0]) say("Before the first bar.", { brief: true });
    return;
  }
  say("");
  const candle = history.candleAt(instant);
  view.centre(candle);
  choose(candle, instant);
});

/* Go to the triangle before or after the chosen candle, else the middle of what is seen. */
const goToTriangle = attempt(async (way) => {
  if (!history) return;
  const range = view.chart.timeScale().getVisibleLogicalRange();
  const middle = Math.round((range.from + range.to) / 2);
  const candle = chosen ?? Math.min(history.length - 1, Math.max(0, middle));
  const inside = chosen !== null && asked.at !== null;
  const from = inside ? asked.at : history.candles.time[candle];
  const found = await server.neighbour(asked.symbol, from, way, asked.filters);
  if (found === null) say(`There is no ${way} triangle that the filters let pass.`, { brief: true });
  else await goTo(found);
});

function step(by) {
  if (!history) return;
  const candle = Math.min(history.length - 1, Math.max(0, (chosen ?? history.length - 1) + by));
  const range = view.chart.timeScale().getVisibleLogicalRange();
  if (candle < range.from || candle > range.to) view.centre(candle);
  choose(candle);
}

function setFilter(name, isOn) {
  asked.filters[name] = isOn;
  byId(name).checked = isOn;
  writeAddress(asked);
  if (!history) return;
  view.filter(asked.filters);
  showState(chosen ?? history.length - 1);
}

function setTimeframe(tf) {
  asked.tf = tf;
  open();
}

function newest() {
  asked.at = null;
  open();
}

for (const tf of TIMEFRAMES) {
  const button = element("button", { text: tf, "aria-pressed": "false" });
  button.addEventListener("click", () => setTimeframe(tf));
  byId("timeframes").append(button);
}
byId("symbol").addEventListener("change", ({ target }) => {
  asked.symbol = target.value;
  open();
});
byId("gaps").addEventListener("change", ({ target }) => {
  asked.gaps = target.value;
  writeAddress(asked);
  showZones();
});
for (const name of FILTERS) {
  byId(name).addEventListener("change", ({ target }) => setFilter(name, target.checked));
}
byId("previous").addEventListener("click", () => goToTriangle("previous"));
byId("next").addEventListener("click", () => goToTriangle("next"));
byId("newest").addEventListener("click", newest);
byId("theme").addEventListener("click", () => switchTheme((changed) => view.paint(changed)));
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("close-keys").addEventListener("click", () => byId("keys").close());
byId("use-token").addEventListener("click", () => {
  server.keepToken(byId("secret").value.trim());
  byId("secret").value = "";
  byId("token").close();
  open();
});
byId("date").addEventListener("change", ({ target }) => {
  const instant = fromField(target.value);
  if (Number.isFinite(instant)) goTo(instant);
  else if (target.value.trim()) say("Write the date as 2024-06-18 or 2024-06-18 13:31 (UTC).", { brief: true });
});

view.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => extend(range));
view.chart.subscribeCrosshairMove(({ logical, sourceEvent }) => {
  clearTimeout(resting);
  if (!history || !sourceEvent) return;
  const candle = logical ?? chosen ?? history.length - 1;
  showState(candle);
  if (logical !== undefined && chosen === null && candle >= 0 && candle < history.length) {
    resting = setTimeout(() => explain(candle), REST_MS);
  }
});
view.chart.subscribeClick(({ logical }) => {
  if (logical !== undefined) choose(logical);
});

listenToKeys({
  next: () => goToTriangle("next"),
  previous: () => goToTriangle("previous"),
  step,
  goTo: () => byId("date").focus(),
  newest,
  filter: (name) => setFilter(name, !asked.filters[name]),
  theme: () => switchTheme((changed) => view.paint(changed)),
  timeframe: setTimeframe,
  help: () => byId("keys").showModal(),
  letGo,
});
showControls();
open();
