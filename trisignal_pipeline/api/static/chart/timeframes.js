/* The timeframes, and how much of each is shown and loaded at a time. */

export const TIMEFRAMES = ["1m", "5m", "15m", "1h", "4h", "1d"];

const DAY = 86_400;

/* The length of a period in seconds; a daily bar ends with its session, never later than this. */
export const SECONDS = { "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "4h": 14_400, "1d": DAY };

/* How many seconds are loaded at once. */
export const CHUNK = {
  "1m": 7 * DAY, "5m": 14 * DAY, "15m": 30 * DAY, "1h": 90 * DAY, "4h": 200 * DAY, "1d": 400 * DAY,
};

/* How many candles are shown at first, for each CSS pixel of width. */
export const SHOWN_PER_PIXEL = 0.16;
