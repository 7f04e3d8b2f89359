"""Bars of any timeframe: whole, exact, and the same as a plain fold gives."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import DateRange, iso_minute
from trisignal_pipeline.market.sessions import sessions, utc_days
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.query.bar_series import BARS, as_table
from trisignal_pipeline.query.bars import WholeBars, read_minutes, whole_bars
from trisignal_pipeline.signal.rules import HIGHER_TIMEFRAMES, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.query.stored_market import (
    CHICAGO,
    HOLIDAY_WEEK,
    NQ,
    anchor_to_utc,
    chicago_ns,
    generated,
    market,
    store_clean,
    utc_ns,
    with_roll,
)
from trisignal_pipeline_tests.signal.dbn_bars import lead_bars
from trisignal_pipeline_tests.signal.generated_bars import bars_of, rows_of, session_rows
from trisignal_pipeline_tests.signal.plain_signal import PlainSession, period, plain_higher

Row = tuple[int, int, int, int, int, int]


def found(database: Database, timeframe: str, dates: DateRange) -> WholeBars:
    with database.connect("test") as connection:
        minutes = read_minutes(connection, market(database), timeframe, dates)
    return whole_bars(minutes, timeframe, dates.start_ns, dates.end_ns)


def rows(made: WholeBars) -> list[Row]:
    columns = (getattr(made.bars, name) for name in ("ts", "open", "high", "low", "close"))
    return list(zip(*(c.tolist() for c in columns), made.bars.volume.tolist(), strict=True))


def opens(made: WholeBars) -> list[str]:
    """When bars open, on a clock in Chicago."""
    return [
        datetime.fromtimestamp(ts // 10**9, UTC).astimezone(CHICAGO).strftime("%m-%d %H:%M")
        for ts in made.bars.ts.tolist()
    ]


def plain_rows(minutes: Bars, timeframe: str, of: list[PlainSession]) -> list[Row]:
    """The same bars by lists and loops, volume included."""
    made = plain_higher(rows_of(minutes), timeframe, of)[1]
    volume: dict[int, int] = defaultdict(int)
    for ts, traded in zip(minutes.ts.tolist(), minutes.volume.tolist(), strict=True):
        its_period = period(ts, timeframe, of)
        if its_period is not None:
            volume[its_period[0]] += traded
    return [(*bar, volume[bar[0]]) for bar in made]


def one_bar_each(*minutes: str) -> Bars:
    """A bar on each of these minutes, Chicago time; the n-th one's price is n."""
    return bars_of([(chicago_ns(text), n, n, n, n) for n, text in enumerate(minutes, 1)])


@pytest.mark.parametrize("anchor", ["session", "utc"])
def test_bars_are_those_of_a_plain_fold(database: Database, anchor: str) -> None:
    minutes = with_roll(generated(HOLIDAY_WEEK, share=0.3))
    store_clean(database, minutes, HOLIDAY_WEEK)
    if anchor == "utc":
        anchor_to_utc(database)
        of = utc_days(HOLIDAY_WEEK.start, HOLIDAY_WEEK.end)
    else:
        of = sessions("cme_equity", HOLIDAY_WEEK.start, HOLIDAY_WEEK.end + timedelta(days=1))
    asked = DateRange(date(2024, 11, 27), date(2024, 12, 2))
    for timeframe in HIGHER_TIMEFRAMES:
        expected = plain_rows(minutes, timeframe, session_rows(of))
        made = found(database, timeframe, asked)
        assert rows(made) == [r for r in expected if asked.start_ns <= r[0] < asked.end_ns]
        assert len(made.left_out) == 0


def test_minutes_are_the_stored_ones(database: Database) -> None:
    minutes = generated(HOLIDAY_WEEK, share=0.1)
    store_clean(database, minutes, HOLIDAY_WEEK)
    made = found(database, "1m", HOLIDAY_WEEK)
    assert [row[:5] for row in rows(made)] == rows_of(minutes)


def test_a_holiday_s_bar_opens_with_its_first_session_and_is_whole(database: Database) -> None:
    minutes = generated(HOLIDAY_WEEK)
    store_clean(database, minutes, HOLIDAY_WEEK)
    # Only the date it opens on is asked for; Friday's half day finishes it.
    made = found(database, "1d", DateRange(date(2024, 11, 27), date(2024, 11, 27)))
    assert opens(made) == ["11-27 17:00"]
    inside = minutes.between(chicago_ns("2024-11-27 17:00"), chicago_ns("2024-11-29 12:15"))
    assert len(inside) == 1140 + 1155
    assert rows(made)[0][1:] == (
        inside.open[0],
        inside.high.max(),
        inside.low.min(),
        inside.close[-1],
        inside.volume.sum(),
    )
    assert opens(found(database, "1d", DateRange(date(2024, 11, 28), date(2024, 11, 29)))) == []


def test_a_half_day_s_last_bar_is_short(database: Database) -> None:
    dates = DateRange(date(2024, 12, 23), date(2024, 12, 24))
    minutes = generated(dates)
    store_clean(database, minutes, dates)
    made = found(database, "4h", DateRange(date(2024, 12, 24), date(2024, 12, 24)))
    assert opens(made)[-1] == "12-24 09:00"
    last = minutes.between(chicago_ns("2024-12-24 09:00"), chicago_ns("2024-12-24 12:15"))
    assert rows(made)[-1][4:] == (last.close[-1], last.volume.sum())


def test_sessions_open_at_the_same_clock_time_when_the_clocks_change(database: Database) -> None:
    dates = DateRange(date(2024, 10, 31), date(2024, 11, 4))
    store_clean(database, generated(dates), dates)
    made = found(database, "1d", dates)
    assert opens(made) == ["10-31 17:00", "11-03 17:00"]
    assert [iso_minute(ts) for ts in made.bars.ts.tolist()] == [
        "2024-10-31T22:00:00Z",
        "2024-11-03T23:00:00Z",
    ]


def test_a_sunday_evening_opens_monday_s_bar(database: Database) -> None:
    dates = DateRange(date(2024, 12, 1), date(2024, 12, 2))
    store_clean(database, generated(dates), dates)
    made = found(database, "1d", DateRange(date(2024, 12, 1), date(2024, 12, 1)))
    assert opens(made) == ["12-01 17:00"]


def test_nothing_partial_stands_at_the_start(database: Database) -> None:
    dates = DateRange(date(2024, 12, 2), date(2024, 12, 3))
    store_clean(database, generated(dates), dates)
    # Monday's session opened on Sunday, and its bars with it.
    assert opens(found(database, "1d", dates)) == ["12-02 17:00"]
    assert opens(found(database, "4h", dates))[0] == "12-01 21:00"


def test_a_bar_whose_last_minutes_did_not_trade_is_whole_all_the_same(database: Database) -> None:
    dates = DateRange(date(2024, 12, 5), date(2024, 12, 6))
    store_clean(database, one_bar_each("2024-12-06 09:00", "2024-12-06 15:58"), dates)
    assert opens(found(database, "1h", dates)) == ["12-06 09:00", "12-06 15:00"]
    assert opens(found(database, "1d", dates)) == ["12-05 17:00"]


def test_a_bar_that_reaches_into_a_date_without_finished_bars_is_left_out(
    database: Database,
) -> None:
    stored = DateRange(date(2024, 12, 2), date(2024, 12, 3))
    store_clean(database, generated(stored), stored)
    made = found(database, "1d", DateRange(date(2024, 12, 2), date(2024, 12, 5)))
    assert opens(made) == ["12-02 17:00"]
    assert made.left_out.tolist() == [chicago_ns("2024-12-03 17:00")]


def test_a_closed_date_in_between_leaves_nothing_out(database: Database) -> None:
    # Independence Day lies on a Saturday: Friday's minutes belong to Monday's bar.
    friday, monday = date(2020, 7, 3), date(2020, 7, 6)
    minutes = generated(DateRange(date(2020, 7, 2), monday), share=0.2)
    for part in (DateRange(date(2020, 7, 2), friday), DateRange(date(2020, 7, 5), monday)):
        store_clean(database, minutes.between(part.start_ns, part.end_ns), part)
    made = found(database, "1d", DateRange(date(2020, 7, 2), friday))
    assert opens(made) == ["07-02 17:00"]
    assert made.bars.close[0] == minutes.between(0, chicago_ns("2020-07-06 16:00")).close[-1]


def test_a_date_that_is_being_written_is_not_read(database: Database) -> None:
    dates = DateRange(date(2024, 12, 2), date(2024, 12, 4))
    store_clean(database, generated(dates), dates)
    with database.connect("test") as connection:
        connection.execute(
            "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = '2024-12-03'"
        )
    made = found(database, "1d", DateRange(date(2024, 12, 2), date(2024, 12, 3)))
    assert opens(made) == []
    assert len(made.left_out) == 2
    days = {ts // (86_400 * 10**9) for ts in found(database, "1m", dates).bars.ts.tolist()}
    assert len(days) == 2


def test_minutes_outside_the_session_are_bars_of_their_own_timeframe_only(
    database: Database,
) -> None:
    dates = DateRange(date(2024, 12, 3), date(2024, 12, 3))
    store_clean(
        database, one_bar_each("2024-12-03 15:59", "2024-12-03 16:10", "2024-12-03 16:59"), dates
    )
    assert len(found(database, "1m", dates).bars) == 3
    assert opens(found(database, "1h", dates)) == ["12-03 15:00"]


def test_no_bars_at_all_are_no_error(database: Database) -> None:
    for timeframe in TIMEFRAMES:
        assert len(found(database, timeframe, HOLIDAY_WEEK).bars) == 0


def test_only_the_session_anchor_is_warned_of_outside_the_verified_span(
    database: Database,
) -> None:
    early = DateRange(date(2014, 4, 30), date(2014, 5, 2))
    warning = calendar_warning(market(database), early)
    assert warning is not None
    assert "2014-05-01 to 2026-04-30" in warning
    assert calendar_warning(market(database), HOLIDAY_WEEK) is None
    anchor_to_utc(database)
    assert calendar_warning(market(database), early) is None


def test_the_command_prints_exact_prices_and_utc_times(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", database.url)
    dates = DateRange(date(2024, 12, 3), date(2024, 12, 3))
    quarter = 250_000_000
    minutes = bars_of(
        [
            (utc_ns("2024-12-03 00:00"), 80_493 * quarter, 80_500 * quarter, 80_480 * quarter,
             80_492 * quarter),
            (utc_ns("2024-12-03 00:01"), 80_493 * quarter, 80_494 * quarter, 80_401 * quarter,
             80_402 * quarter),
        ]
    )  # fmt: skip
    store_clean(database, minutes, dates)
    arguments = ["bars", NQ, "--tf", "15m", "--start", "2024-12-03", "--end", "2024-12-03"]
    result = CliRunner().invoke(trisignal, [*arguments, "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "ts,open,high,low,close,volume\n2024-12-03T00:00:00Z,20123.25,20125,20100.25,20100.5,2\n"
    )
    assert result.stderr == ""


def test_the_command_says_on_standard_error_what_it_leaves_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISIGNAL_DATABASE_URL", database.url)
    dates = DateRange(date(2012, 12, 3), date(2012, 12, 3))
    store_clean(database, one_bar_each("2012-12-03 12:00", "2012-12-03 17:00"), dates)
    arguments = ["bars", NQ, "--tf", "1d", "--start", "2012-12-03", "--end", "2012-12-03"]
    result = CliRunner().invoke(trisignal, [*arguments, "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "ts,open,high,low,close,volume\n"
    assert "verified from 2014-05-01" in result.stderr
    assert "not whole left out: 1, the first of 2012-12-03T23:00:00Z" in result.stderr


# On real bars: the session's clock by nothing but the hour in Chicago.

HALTED = {date(2024, 11, 28): date(2024, 11, 29), date(2025, 1, 20): date(2025, 1, 21)}


def naive_key(ts: int, timeframe: str) -> tuple[date, int]:
    local = datetime.fromtimestamp(ts // 10**9, UTC).astimezone(CHICAGO).replace(tzinfo=None)
    # Seven hours later a session's open is midnight of its trade date.
    clock = local + timedelta(hours=7)
    if timeframe == "1d":
        return HALTED.get(clock.date(), clock.date()), 0
    return clock.date(), (clock.hour * 60 + clock.minute) // {"1h": 60, "4h": 240}[timeframe]


def test_real_bars_are_those_of_a_fold_by_the_clock_in_chicago(
    database: Database, shared_data: Path
) -> None:
    minutes = lead_bars(shared_data / "nq_fut")
    dates = DateRange(date(2024, 11, 1), date(2025, 1, 31))
    store_clean(database, minutes, dates)
    for timeframe in ("1h", "4h", "1d"):
        expected: list[tuple[int, ...]] = []
        keys = [naive_key(ts, timeframe) for ts in minutes.ts.tolist()]
        start = 0
        for _, group in itertools.groupby(keys):
            after = start + len(list(group))
            part = minutes.take(slice(start, after))
            expected.append(
                (
                    int(part.open[0]),
                    int(part.high.max()),
                    int(part.low.min()),
                    int(part.close[-1]),
                    int(part.volume.sum()),
                )
            )
            start = after
        made = rows(found(database, timeframe, dates))
        # The first session opened the evening before the files begin.
        skipped = 1 if timeframe in ("4h", "1d") else 0
        assert [row[1:] for row in made] == expected[skipped:], timeframe


def test_a_table_of_no_bars_has_its_columns() -> None:
    none = np.empty(0, np.int64)
    table = as_table(HigherBars(*(none,) * 7))
    assert table.schema == BARS
    assert table.num_rows == 0
