"""How good what is stored of some dates is: covered by bars, aligned, and made again the same."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.market.bars import Bools, Int64s
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, day_number, utc
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.signals import bias, triangles
from trisignal_pipeline.query.tables import DATE, FLAG, TEXT, WHOLE, Table, read_table
from trisignal_pipeline.signal.rules import BULLISH
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.replay import ReplayedPart, replay
from trisignal_pipeline.storage.selection import selected_dates


def coverage(connection: Connection, market: Market, dates: DateRange) -> Table:
    """Each UTC date on which the market trades or has clean bars, judged by its sessions.

    state                complete, writing, or absent: nothing is stored of it
    bars                 clean bars that are stored
    expected, found      open minutes by the calendar, and how many of them have a bar
    no_trade, rejected, suspicious   open minutes without one, by what the gap is held for
    covered              found and no_trade as a share of expected: 1 where nothing is amiss

    All but the first three are empty of a date that isn't complete or has not been judged yet.
    """
    return read_table(
        connection,
        """
        SELECT c.date, coalesce(d.state, 'absent') AS state, coalesce(d.bar_count, 0) AS bars,
               c.expected, d.found_minutes AS found, d.no_trade_minutes AS no_trade,
               d.rejected_minutes AS rejected, d.suspicious_minutes AS suspicious,
               (d.found_minutes + d.no_trade_minutes)::float8 / nullif(d.expected_minutes, 0)
                   AS covered,
               d.longest_gap, d.outside_count AS outside, d.off_tick_count AS off_tick, d.contract
        FROM unnest(%(dates)s::date[], %(expected)s::integer[]) AS c (date, expected)
        LEFT JOIN bar_dates d ON d.symbol = %(symbol)s AND d.layer = 'clean' AND d.date = c.date
        WHERE c.expected > 0 OR d.bar_count > 0
        ORDER BY c.date
        """,
        {
            "symbol": str(market.symbol),
            "dates": list(dates),
            "expected": expected_minutes(market.session_profile, dates.start, dates.end).tolist(),
        },
    )


def alignment(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """Whether bars, biases and triangles of each date lie on the same minutes and agree.

    bars, biases, triangles   how many are stored of the date, clean bars of finished dates
    bars_without_bias, biases_without_bar, triangles_without_bias   what lacks its counterpart
    triangles_that_differ     triangles whose biases or direction aren't those of the bias row
    off_minute                rows of the three that don't lie on the start of a minute
    """
    return read_table(
        connection,
        """
        WITH minutes AS (
            SELECT coalesce(b.ts, s.ts, t.ts) AS ts, b.ts AS bar, s.ts AS bias, t.ts AS triangle,
                   t.ts IS NOT NULL AND s.ts IS NOT NULL AND (
                       (t.bias_1m, t.bias_m5, t.bias_m15, t.bias_h1, t.bias_h4, t.bias_d1)
                       IS DISTINCT FROM
                       (s.bias_1m, s.bias_5m, s.bias_15m, s.bias_1h, s.bias_4h, s.bias_1d)
                       OR t.direction <> CASE s.bias_1m WHEN 'Bullish' THEN 'BULL'
                                                        WHEN 'Bearish' THEN 'BEAR' ELSE '' END)
                   AS differs
            FROM (SELECT ts FROM continuous_bars_1m
                  WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s) b
            FULL JOIN (SELECT * FROM bias_series_1m_v1
                       WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s) s
                   ON s.ts = b.ts
            FULL JOIN (SELECT * FROM triangle_events_v1
                       WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s) t
                   ON t.ts = coalesce(b.ts, s.ts)
        )
        SELECT (ts AT TIME ZONE 'UTC')::date AS date, count(DISTINCT bar) AS bars,
               count(DISTINCT bias) AS biases, count(triangle) AS triangles,
               count(*) FILTER (WHERE bar IS NOT NULL AND bias IS NULL) AS bars_without_bias,
               count(*) FILTER (WHERE bias IS NOT NULL AND bar IS NULL) AS biases_without_bar,
               count(*) FILTER (WHERE triangle IS NOT NULL AND bias IS NULL)
                   AS triangles_without_bias,
               count(*) FILTER (WHERE differs) AS triangles_that_differ,
               count(*) FILTER (WHERE ts <> date_bin('1 minute', ts, '2000-01-01 00:00+00'))
                   AS off_minute
        FROM minutes GROUP BY 1 ORDER BY 1
        """,
        {"symbol": symbol, "start": utc(dates.start_ns), "end": utc(dates.end_ns)},
    )


def determinism(connection: Connection, market: Market, dates: DateRange) -> Table:
    """Whether computing the signal of each date again gives what is stored. Nothing is written.

    source                  the table the signal reads the date's bars from
    minutes, triangles      how many the replay has
    biases_that_differ      minutes on which stored and replayed biases differ, or one is missing
    triangles_that_differ   triangles that only one side has
    in_doubt                bars or rules changed since, so that a difference is no surprise

    The replay starts from the nearest saved state. Memory holds a month.
    """
    symbol = str(market.symbol)
    doubtful = set(dates_in_doubt(connection, symbol))
    rows: list[tuple[object, ...]] = []
    for part in replay(connection, market, selected_dates(connection, symbol), dates):
        if not part.window.overlaps(dates):
            continue
        window = DateRange(max(part.window.start, dates.start), min(part.window.end, dates.end))
        minutes, different = _biases(connection, symbol, part, window)
        flips, moved = _triangles(connection, symbol, part, window)
        for number, day in enumerate(window):
            selected = part.selected.get(day)
            if selected is None and not different[number] and not moved[number]:
                continue
            rows.append(
                (
                    day,
                    None if selected is None else selected.table,
                    int(minutes[number]),
                    int(different[number]),
                    int(flips[number]),
                    int(moved[number]),
                    day in doubtful,
                )
            )
    columns = {
        "date": DATE,
        "source": TEXT,
        "minutes": WHOLE,
        "biases_that_differ": WHOLE,
        "triangles": WHOLE,
        "triangles_that_differ": WHOLE,
        "in_doubt": FLAG,
    }
    return Table.of_rows(columns, rows)


def verdicts(connection: Connection, symbol: str, dates: DateRange) -> Table:
    """The latest verdict of every check on each date, in order of date, asset and check."""
    return read_table(
        connection,
        """
        SELECT date, asset, check_name, passed, severity, row_count AS rows, failed_count AS failed,
               description, failure_cases, checked_at, dagster_run_id
        FROM data_quality_results
        WHERE symbol = %(symbol)s AND date BETWEEN %(first)s AND %(last)s
        ORDER BY date, asset, check_name
        """,
        {"symbol": symbol, "first": dates.start, "last": dates.end},
    )


def _biases(
    connection: Connection, symbol: str, part: ReplayedPart, window: DateRange
) -> tuple[Int64s, Int64s]:
    """By date: how many minutes the replay has, and on how many of either side they differ."""
    stored = bias(symbol, window).table(connection).whole().unify_dictionaries()
    stored_ts = _nanoseconds(stored.column("ts"))
    inside = (part.bias.ts >= window.start_ns) & (part.bias.ts < window.end_ns)
    ts, codes = part.bias.ts[inside], part.bias.bias[inside]
    _, replayed_rows, stored_rows = np.intersect1d(
        ts, stored_ts, assume_unique=True, return_indices=True
    )
    same = np.ones(len(stored_rows), np.bool_)
    for place, column in enumerate(stored.columns[1:]):
        names = column.combine_chunks().indices.to_numpy(zero_copy_only=False)
        same &= names[stored_rows] == codes[replayed_rows, place] % 3
    alone = np.concatenate((np.setdiff1d(ts, stored_ts), np.setdiff1d(stored_ts, ts)))
    return _by_date(window, ts), _by_date(window, np.concatenate((ts[replayed_rows][~same], alone)))


def _triangles(
    connection: Connection, symbol: str, part: ReplayedPart, window: DateRange
) -> tuple[Int64s, Int64s]:
    """By date: how many triangles the replay has, and how many only one side has."""
    inside: Bools = (part.triangles.ts >= window.start_ns) & (part.triangles.ts < window.end_ns)
    ts = part.triangles.ts[inside]
    # A minute and a direction in one number: minutes are even multiples of a nanosecond.
    replayed = ts + (part.triangles.direction[inside] == BULLISH)
    found = triangles(symbol, window).table(connection).whole()
    is_bull = np.array(found.column("direction").to_pylist(), np.object_) == "BULL"
    stored = _nanoseconds(found.column("ts")) + is_bull.astype(np.int64)
    return _by_date(window, ts), _by_date(window, np.setxor1d(replayed, stored))


def _nanoseconds(column: object) -> Int64s:
    ts: Int64s = column.cast("int64").to_numpy() * 1000  # type: ignore[attr-defined]
    return ts


def _by_date(window: DateRange, ts: Int64s) -> Int64s:
    days = ts // NS_PER_DAY - day_number(window.start)
    return np.bincount(days, minlength=len(window)).astype(np.int64)
