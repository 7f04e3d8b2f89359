/* Times: whole seconds since the epoch here, RFC 3339 in requests; UTC everywhere. */

export const toIso = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 19) + "Z";

export const fromIso = (text) => Date.parse(text) / 1000;

/* `2024-06-18 13:31`, with the weekday in front if it is asked for. */
export function written(seconds, withWeekday = false) {
  const date = new Date(seconds * 1000);
  const text = date.toISOString().slice(0, 16).replace("T", " ");
  if (!withWeekday) return text;
  const weekday = date.toLocaleDateString("en-GB", { weekday: "short", timeZone: "UTC" });
  return `${weekday} ${text}`;
}

/* What somebody typed, `2024-06-18` or with a time behind it, taken for UTC; NaN if it is none. */
export function fromField(text) {
  const found = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(?::\d\d)?Z?)?$/.exec(text.trim());
  return found ? fromIso(`${found[1]}T${found[2] ?? "00:00"}:00Z`) : NaN;
}
