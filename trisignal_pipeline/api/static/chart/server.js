/* Asking the API, and what goes wrong, in words. */

import { toIso } from "./times.js";

const HISTORY = "/api/hist/v1";
const CHART = "/api/chart/v1";
const TOKEN = "trisignal-token";

/* An answer that is none. `status` is 0 where the server didn't answer at all. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const keepToken = (token) => sessionStorage.setItem(TOKEN, token);

async function ask(path, parameters, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(parameters)}`, { headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server doesn't answer. Is trisignal api still running?");
  }
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw new Refusal(response.status, problem.detail ?? `The server answered ${response.status}.`);
}

export const markets = () => ask(`${CHART}/markets`, {});

/* All bars that open in [start, end), page after page. */
export async function bars(symbol, tf, start, end, signal) {
  const asked = { symbol, tf, start: toIso(start), end: toIso(end) };
  const pages = [];
  let cursor = null;
  do {
    const page = await ask(`${HISTORY}/bars`, cursor ? { ...asked, cursor } : asked, signal);
    pages.push(page.columns);
    cursor = page.next_cursor;
  } while (cursor);
  return pages;
}

export const marks = (symbol, start, end, signal) =>
  ask(`${CHART}/marks`, { symbol, start: toIso(start), end: toIso(end) }, signal);

export const gaps = (symbol, tf, ts, signal) =>
  ask(`${CHART}/gaps`, { symbol, tf, ts: toIso(ts) }, signal);

/* The OPEN of the last minute before an instant that has a bar; null where there is none. */
export async function lastBar(symbol, before, signal) {
  const found = await ask(`${CHART}/last-bar`, { symbol, ts: toIso(before) }, signal);
  return found.ts[0] ?? null;
}

/* The nearest triangle with all of the flags that `filters` names; null where there is none. */
export async function neighbour(symbol, ts, way, filters) {
  const found = await ask(`${CHART}/triangle`, { symbol, ts: toIso(ts), way, ...filters });
  return found.ts[0] ?? null;
}

export const world = (symbol, ts, signal) =>
  ask(`${HISTORY}/world`, { symbol, ts: toIso(ts), include: "explanation" }, signal);
