"""The dates that newly catalogued files serve, as long as their bars are those from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.storage.catalogue import coverage
from trisignal_pipeline.storage.connection import Connection, scalar


@dataclass(frozen=True, slots=True)
class ServedDates:
    """Dates of a symbol, within one year, that files serve which were catalogued by `since`."""

    symbol: str
    dates: DateRange
    since: datetime


def newest_file(connection: Connection) -> int:
    """The id of the file that was catalogued last; 0 if none was.

    A file that is read again gets a new one.
    """
    return int(scalar(connection, "SELECT coalesce(max(id), 0) FROM raw_files"))


def newly_served(
    connection: Connection, raw_dir: Path, market: Market, dates: DateRange, after: int
) -> list[ServedDates]:
    """Of `dates` those of the market that verified files serve whose ids come `after`.

    Dates whose legacy bars were made since the file was catalogued are not among them. What is left
    comes as the fewest ranges that hold it and, between two of its dates, none but those on which
    the market is closed all day; cut at the turns of the years.
    """
    catalogued: Mapping[int, datetime] = dict(
        connection.execute("SELECT id, catalogued_at FROM raw_files WHERE id > %s", (after,))
    )
    if not catalogued:
        return []
    since: dict[date, datetime] = {}
    for file in coverage(connection, raw_dir, market, dates).verified:
        if file.id in catalogued and file.promised is not None:
            for day in file.promised:
                if day in dates:
                    since[day] = max(catalogued[file.id], since.get(day, catalogued[file.id]))
    left = _not_made(connection, market, since)
    return [
        ServedDates(
            str(market.symbol), year, max(moment for day, moment in since.items() if day in year)
        )
        for span in _bridged(market, left)
        for year in by_year(span)
    ]


def still_to_make(connection: Connection, market: Market, served: ServedDates) -> list[ServedDates]:
    """What of `served` is left by now, days on which the market is closed apart."""
    left = _not_made(connection, market, dict.fromkeys(served.dates, served.since))
    closed = _closed(market, served.dates)
    return [
        ServedDates(served.symbol, dates, served.since)
        for dates in _bridged(market, [day for day in left if day not in closed])
    ]


def _bridged(market: Market, days: Sequence[date]) -> list[DateRange]:
    """The fewest ranges that begin and end with one of `days`, and else hold closed days alone."""
    if not days:
        return []
    wanted = set(days)
    spans = contiguous_ranges(wanted | _closed(market, DateRange(min(days), max(days))))
    inside = [[day for day in span if day in wanted] for span in spans]
    return [DateRange(found[0], found[-1]) for found in inside if found]


def _closed(market: Market, dates: DateRange) -> set[date]:
    minutes = expected_minutes(market.session_profile, dates.start, dates.end)
    return {day for day, count in zip(dates, minutes, strict=True) if not count}


def _not_made(connection: Connection, market: Market, since: Mapping[date, datetime]) -> list[date]:
    """The dates whose legacy bars no run has made since the moment that is given for each."""
    found = connection.execute(
        """
        SELECT wanted.day FROM unnest(%s::date[], %s::timestamptz[]) AS wanted (day, since)
        WHERE NOT EXISTS (
            SELECT FROM data_ingest_runs r
            WHERE r.symbol = %s AND r.asset = 'legacy_bars' AND r.status = 'success'
              AND r.started_at >= wanted.since AND wanted.day BETWEEN r.start_date AND r.end_date)
        ORDER BY wanted.day
        """,
        (list(since), list(since.values()), str(market.symbol)),
    )
    return [day for (day,) in found]
