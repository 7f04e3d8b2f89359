"""What is kept of bars that don't stand: those in quarantine, and the versions that were changed.

Both are listed by the bars' OPEN, whichever table they were kept out of or stood in.
"""

from __future__ import annotations

from datetime import date

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Connection


def quarantined(
    connection: Connection,
    symbol: str,
    *,
    start: date | None = None,
    end: date | None = None,
    rule: str | None = None,
    released: bool = False,
) -> Table:
    """Rejected bars of `symbol` in order of time; `start` and `end` are UTC dates, both included.

    Only those that break `rule`, if one is named; also those released since, with `released`.

    Raises:
        RangeError: `end` lies before `start`.
    """
    _require_order(start, end)
    return read_table(
        connection,
        """
        SELECT ts, layer, rules, open, high, low, close, volume, contract, file_name,
               ingestion_run_id AS run, quarantined_at, released_at
        FROM quarantined_bars_in_points
        WHERE symbol = %(symbol)s
          AND ts >= coalesce(%(start)s::date::timestamp AT TIME ZONE 'UTC', '-infinity')
          AND ts < coalesce((%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC', 'infinity')
          AND (%(rule)s::text IS NULL OR %(rule)s = ANY (rules))
          AND (%(released)s OR released_at IS NULL)
        ORDER BY ts, layer, id
        """,
        {"symbol": symbol, "start": start, "end": end, "rule": rule, "released": released},
    )


def revisions(
    connection: Connection,
    symbol: str,
    *,
    start: date | None = None,
    end: date | None = None,
    layer: str | None = None,
) -> Table:
    """Versions of bars of `symbol` that stand no longer, in order of time, of both layers or one.

    `ts` is the OPEN in both; `start` and `end` are UTC dates of it, both included. The times of
    validity are exact to the microsecond, so that the table can be read as of them.

    Raises:
        RangeError: `end` lies before `start`.
    """
    _require_order(start, end)
    return read_table(
        connection,
        """
        SELECT opens.ts, r.layer, r.kind, r.open, r.high, r.low, r.close, r.volume, r.contract,
               to_char(r.valid_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   AS valid_from,
               to_char(r.valid_to AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                   AS valid_to,
               r.ingestion_run_id AS run, r.file_name
        FROM (VALUES ('legacy', interval '1 minute'), ('clean', interval '0'))
             AS stamped (layer, after_open)
        JOIN market_bars_revisions r ON r.layer = stamped.layer
        CROSS JOIN LATERAL (SELECT r.ts - stamped.after_open AS ts) AS opens
        WHERE r.symbol = %(symbol)s
          AND r.ts >= coalesce(%(start)s::date::timestamp AT TIME ZONE 'UTC', '-infinity')
                      + stamped.after_open
          AND r.ts < coalesce((%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC', 'infinity')
                     + stamped.after_open
          AND (%(layer)s::text IS NULL OR r.layer = %(layer)s)
        ORDER BY opens.ts, r.layer, r.recorded_at, r.kind
        """,
        {"symbol": symbol, "start": start, "end": end, "layer": layer},
    )


def _require_order(start: date | None, end: date | None) -> None:
    if start is not None and end is not None:
        DateRange(start, end)
