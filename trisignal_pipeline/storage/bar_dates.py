"""Which dates of which bars are there.

A date counts only when its materialisation completed. One that was being changed when its process
died is `writing`: what the table holds of it is neither the old nor the new, so nothing reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType

import numpy as np

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, day_number, utc
from trisignal_pipeline.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class BarDate:
    """One date of one layer as it was completed. Minutes are nanoseconds (UTC), bars' OPEN."""

    date: date
    bar_count: int
    rejected_count: int
    contract: str | None
    first_ns: int | None
    last_ns: int | None
    fingerprint: int


def describe_dates(layer: str, dates: DateRange, bars: Bars, rejected: Bars) -> list[BarDate]:
    """What there is of each date of `dates`, given all its bars in order of time."""
    numbers = np.arange(day_number(dates.start), day_number(dates.end) + 2)
    bounds = np.searchsorted(bars.day_numbers(), numbers)
    rejects = np.searchsorted(np.sort(rejected.day_numbers()), numbers)
    described = []
    for position, day in enumerate(dates):
        of_day = bars.take(slice(int(bounds[position]), int(bounds[position + 1])))
        described.append(
            BarDate(
                day,
                len(of_day),
                int(rejects[position + 1] - rejects[position]),
                ", ".join(of_day.contract_names()) or None,
                int(of_day.ts[0]) if len(of_day) else None,
                int(of_day.ts[-1]) if len(of_day) else None,
                fingerprint(layer, of_day),
            )
        )
    return described


def fingerprint(layer: str, bars: Bars) -> int:
    """64 bits (signed) that stand for what the signal can see of one date's bars.

    Volume is left out: no rule of the signal reads it, so a corrected volume puts nothing in
    doubt. The layer is in it, since legacy bars pass other rules on their way to the signal. No
    bars give 0, so that a closed day changes nothing.
    """
    if not len(bars):
        return 0
    digest = hashlib.blake2b(layer.encode(), digest_size=8)
    for column in (bars.ts, bars.open, bars.high, bars.low, bars.close):
        digest.update(np.ascontiguousarray(column, "<i8").tobytes())
    changes = np.concatenate(([0], np.flatnonzero(np.diff(bars.contract)) + 1))
    for row in changes.tolist():
        digest.update(f"{row}:{bars.contracts[bars.contract[row]]};".encode())
    return int.from_bytes(digest.digest(), "little", signed=True)


def mark_writing(
    connection: Connection, symbol: str, layer: str, days: Sequence[date], changed_from: datetime
) -> None:
    """Say that `days` are being changed, in the transaction that changes them.

    `changed_from` is the OPEN of the first bar that changed. Of several changes since the signals
    that rest on the date were computed the first minute is kept.
    """
    connection.execute(
        """
        INSERT INTO bar_dates AS known (symbol, date, layer, state, bar_count, rejected_count,
            changed_from, changed_at, writing_since)
        SELECT %(symbol)s, day, %(layer)s, 'writing', 0, 0,
               -- Where the other layer was read until now, all of its bars change tables.
               least(greatest(%(from)s, day::timestamp AT TIME ZONE 'UTC'),
                     (SELECT o.first_ts FROM bar_dates o
                      WHERE o.symbol = %(symbol)s AND o.date = day AND o.state = 'complete'
                        AND o.layer <> %(layer)s)),
               clock_timestamp(), clock_timestamp()
        FROM unnest(%(days)s::date[]) AS day
        ON CONFLICT (symbol, date, layer) DO UPDATE SET
            state = 'writing', completed_at = NULL, changed_at = excluded.changed_at,
            writing_since = coalesce(known.writing_since, excluded.writing_since),
            -- What was found of the bars before is not true of the new ones.
            expected_minutes = NULL,
            changed_from = least(
                greatest(%(from)s, known.date::timestamp AT TIME ZONE 'UTC'),
                CASE WHEN known.state = 'writing' OR EXISTS (
                    SELECT FROM signal_dates s
                    WHERE s.symbol = known.symbol AND s.date >= known.date
                      AND s.completed_at < known.changed_at)
                THEN known.changed_from END)
        """,
        {"symbol": symbol, "layer": layer, "days": list(days), "from": changed_from},
    )


def mark_complete(
    connection: Connection,
    symbol: str,
    layer: str,
    dates: Sequence[BarDate],
    run_id: int,
    source: str,
    made_from: Mapping[date, datetime] = MappingProxyType({}),
) -> None:
    """Say that `dates` are there, made from `source`.

    A date that was complete and is the same keeps its times. `made_from` are the versions (see
    `versions`) of the legacy dates that clean ones were made from; to the signal they don't matter.
    """
    connection.execute(
        """
        INSERT INTO bar_dates AS known (symbol, date, layer, state, bar_count, rejected_count,
            contract, first_ts, last_ts, fingerprint, ingestion_run_id, source, completed_at,
            changed_from, changed_at)
        SELECT %s, d.date, %s, 'complete', d.bars, d.rejected, d.contract, d.first, d.last,
               d.fingerprint, %s, %s, now(), d.first, clock_timestamp()
        FROM unnest(%s::date[], %s::int[], %s::int[], %s::text[], %s::timestamptz[],
                    %s::timestamptz[], %s::bigint[])
             AS d (date, bars, rejected, contract, first, last, fingerprint)
        ON CONFLICT (symbol, date, layer) DO UPDATE SET
            state = 'complete', bar_count = excluded.bar_count,
            rejected_count = excluded.rejected_count, contract = excluded.contract,
            first_ts = excluded.first_ts, last_ts = excluded.last_ts,
            fingerprint = excluded.fingerprint, ingestion_run_id = excluded.ingestion_run_id,
            source = excluded.source, completed_at = excluded.completed_at, writing_since = NULL,
            (changed_from, changed_at) = (
                SELECT CASE WHEN new THEN least(known.changed_from, excluded.first_ts)
                            ELSE known.changed_from END,
                       CASE WHEN new THEN excluded.changed_at ELSE known.changed_at END
                -- To signals that were computed while the date was away, all of its bars are new.
                FROM (SELECT EXISTS (
                    SELECT FROM signal_dates s
                    WHERE s.symbol = known.symbol AND s.date >= known.date
                      AND s.completed_at > known.writing_since) AS new) AS to_signals)
        WHERE (known.state, known.bar_count, known.rejected_count, known.contract, known.first_ts,
               known.last_ts, known.fingerprint, known.source)
              IS DISTINCT FROM
              ('complete', excluded.bar_count, excluded.rejected_count, excluded.contract,
               excluded.first_ts, excluded.last_ts, excluded.fingerprint, excluded.source)
        """,
        (
            symbol,
            layer,
            run_id,
            source,
            [d.date for d in dates],
            [d.bar_count for d in dates],
            [d.rejected_count for d in dates],
            [d.contract for d in dates],
            [None if d.first_ns is None else utc(d.first_ns) for d in dates],
            [None if d.last_ns is None else utc(d.last_ns) for d in dates],
            [d.fingerprint for d in dates],
        ),
    )
    connection.execute(
        """
        UPDATE bar_dates known SET made_from = n.made_from
        FROM unnest(%s::date[], %s::timestamptz[]) AS n (date, made_from)
        WHERE known.symbol = %s AND known.layer = %s AND known.date = n.date
          AND known.made_from IS DISTINCT FROM n.made_from
        """,
        ([d.date for d in dates], [made_from.get(d.date) for d in dates], symbol, layer),
    )


def complete_dates(
    connection: Connection, symbol: str, layer: str, dates: DateRange
) -> dict[date, BarDate]:
    """The dates of `dates` that are there."""
    found = connection.execute(
        """
        SELECT date, bar_count, rejected_count, contract,
               (extract(epoch FROM first_ts) * 1000000000)::bigint,
               (extract(epoch FROM last_ts) * 1000000000)::bigint, fingerprint
        FROM bar_dates
        WHERE symbol = %s AND layer = %s AND date BETWEEN %s AND %s AND state = 'complete'
        ORDER BY date
        """,
        (symbol, layer, dates.start, dates.end),
    )
    return {row[0]: BarDate(*row) for row in found}


def versions(
    connection: Connection, symbol: str, layer: str, dates: DateRange
) -> dict[date, datetime]:
    """When each of `dates` that is there was completed: another time means another version."""
    found = connection.execute(
        """
        SELECT date, completed_at FROM bar_dates
        WHERE symbol = %s AND layer = %s AND date BETWEEN %s AND %s AND state = 'complete'
        """,
        (symbol, layer, dates.start, dates.end),
    )
    return dict(found.fetchall())


def dates_from(
    connection: Connection, symbol: str, layer: str, source: str, dates: DateRange
) -> set[date]:
    """The dates of `dates` last completed from `source`; they may be in writing again."""
    found = connection.execute(
        """
        SELECT date FROM bar_dates
        WHERE symbol = %s AND layer = %s AND source = %s AND date BETWEEN %s AND %s
        """,
        (symbol, layer, source, dates.start, dates.end),
    )
    return {row[0] for row in found}
