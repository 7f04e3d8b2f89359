"""A chart against the database: full agreement where there is any, and every difference found."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.query.chart_export import read_chart_export
from trisignal_pipeline.query.parity import Parity, compare
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.query.plain_chart import (
    PRICES,
    TIMEFRAMES,
    Row,
    minute_of,
    plain_export,
    price_text,
    write_export,
)
from trisignal_pipeline_tests.query.stored_market import (
    CHICAGO,
    HOLIDAY_WEEK,
    NQ,
    ROLL_STEP,
    StoredMarket,
    anchor_to_utc,
    chicago_ns,
    market,
    store_clean,
    store_signals,
    utc_ns,
)
from trisignal_pipeline_tests.signal.dbn_bars import lead_bars
from trisignal_pipeline_tests.signal.generated_bars import rows_of, session_rows

TRIANGLES = ("Bull Triangle", "Bear Triangle")


def against(stored: StoredMarket, folder: Path, rows: Sequence[Row], shown: int = 10) -> Parity:
    export = read_chart_export(write_export(folder / "chart.csv", rows))
    with stored.database.connect("test") as connection:
        return compare(connection, market(stored.database), export, shown)


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_true_chart_agrees_in_everything(
    timeframe: str,
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    rows = charts(timeframe)
    found = against(holiday_market, tmp_path, rows)
    assert found.differences == ()
    assert (found.bars, found.agreeing, found.percent) == (len(rows), len(rows), 100)
    assert found.timeframe == timeframe
    shown = TIMEFRAMES[TIMEFRAMES.index(timeframe) :]
    assert [column.column for column in found.columns] == [
        *PRICES,
        *(f"Bias {name}" for name in shown),
        *(TRIANGLES if timeframe == "1m" else ()),
    ]
    unseen = [reason for reason in found.not_compared if "no stored minute" in reason]
    compared = {column.column: column.compared for column in found.columns}
    assert all(compared[name] == len(rows) for name in PRICES)
    # Only where one minute finishes two bars does the first one's bias stay unseen.
    assert len(unseen) == sum(count < len(rows) for count in compared.values())
    assert min(compared.values()) > 0.9 * len(rows)
    assert found.warnings == ()


@pytest.mark.parametrize("timeframe", ["1m", "1h"])
def test_a_planted_difference_is_found_and_no_other(
    timeframe: str,
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    rows = charts(timeframe)
    planted = {3: ("high", "1.00"), 8: ("Bias 4h", None), 11: ("close", "99999.75")}
    if timeframe == "1m":
        planted[12] = ("Bear Triangle", None)
    expected = []
    for at, (column, value) in planted.items():
        truth = rows[at][column]
        rows[at][column] = value or {"1": "0", "0": "-1", "-1": "1", "": "1"}[truth]
        expected.append((minute_of(rows[at]), at + 2, column))
    found = against(holiday_market, tmp_path, rows)
    assert [(d.ts, d.line, d.column) for d in found.differences] == expected
    assert found.differing_values == len(planted)
    assert found.agreeing == found.bars - len(planted)
    assert found.percent < 100
    assert found.reaches(found.percent)
    assert not found.reaches(100)
    by_column = {c.column: c.compared - c.agreeing for c in found.columns}
    assert by_column["high"] == by_column["Bias 4h"] == by_column["close"] == 1
    close = found.differences[2]
    assert close.chart == "99999.75"
    assert close.database == f"{float(charts(timeframe)[11]['close']):.12g}"


def test_what_is_shown_is_limited_and_what_is_counted_is_not(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1m")
    for row in rows[:50]:
        row["close"] = "1"
    found = against(holiday_market, tmp_path, rows, shown=3)
    assert [d.line for d in found.differences] == [2, 3, 4]
    assert found.differing_values == 50
    assert found.agreeing == found.bars - 50


def test_a_bar_that_one_side_lacks_is_a_difference(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("5m")
    gone = [minute_of(rows.pop(at)) for at in (40, 20)]
    shut = dict(rows[0], time=str(chicago_ns("2024-11-29 13:00") // 10**9))
    rows = sorted([*rows, shut], key=minute_of)
    found = against(holiday_market, tmp_path, rows)
    assert found.only_database.tolist() == sorted(gone)
    assert found.only_chart.tolist() == [chicago_ns("2024-11-29 13:00")]
    assert found.bars == len(rows) + 2
    assert found.agreeing == len(rows) - 1
    assert found.differences == ()


def test_only_the_span_of_the_export_is_compared(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("15m")[30:60]
    found = against(holiday_market, tmp_path, rows)
    assert (found.bars, found.agreeing) == (30, 30)
    assert found.span == (minute_of(rows[0]), minute_of(rows[-1]))


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_a_back_adjusted_chart_has_one_offset_for_each_contract(
    timeframe: str,
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
) -> None:
    # The past contract is lifted by what the price stepped at the roll; biases stay unadjusted.
    bars = holiday_market.bars
    lifted = [
        (ts, *(price + (0 if code else ROLL_STEP) for price in prices))
        for (ts, *prices), code in zip(rows_of(bars), bars.contract.tolist(), strict=True)
    ]
    adjusted = plain_export(lifted, timeframe, session_rows(holiday_market.sessions))
    prices = {row["time"]: {name: row[name] for name in PRICES} for row in adjusted}
    rows = [row | prices[row["time"]] for row in charts(timeframe)]
    found = against(holiday_market, tmp_path, rows)
    assert found.differences == ()
    assert found.agreeing == found.bars == len(rows)
    assert [(o.contract, o.offset) for o in found.offsets] == [("NQZ4", ROLL_STEP), ("NQH5", 0)]
    assert all(offset.agreeing == 4 * offset.bars for offset in found.offsets)
    # A daily bar, and one of four hours, holds minutes of both contracts.
    mixed = found.bars - sum(offset.bars for offset in found.offsets)
    assert mixed == (1 if timeframe in ("4h", "1d") else 0)


def test_another_offset_within_a_contract_is_a_difference(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1m")
    for at, row in enumerate(rows):
        by = 10 if at < 100 else 12
        row |= {name: f"{float(row[name]) + by:.2f}" for name in PRICES}
    found = against(holiday_market, tmp_path, rows)
    assert [offset.offset for offset in found.offsets] == [12 * PRICE_UNIT] * 2
    assert found.agreeing == found.bars - 100
    assert found.differing_values == 400
    first = found.differences[0]
    truth = f"{float(charts('1m')[0]['open']):.12g}"
    assert (first.column, first.database) == ("open", f"{truth} + 12")


def test_an_offset_must_be_that_of_all_four_prices(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1m")
    for row in rows:
        row["close"] = f"{float(row['close']) - 3:.2f}"
    found = against(holiday_market, tmp_path, rows)
    assert [offset.offset for offset in found.offsets] == [0, 0]
    assert found.agreeing == 0
    assert {d.column for d in found.differences} == {"close"}


def test_daily_bars_can_be_named_by_their_trade_date(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1d")
    for row in rows:
        opened = datetime.fromtimestamp(int(row["time"]), UTC).astimezone(CHICAGO).date()
        trade_date = opened + timedelta(days=1)
        row["time"] = "2024-11-29" if trade_date == date(2024, 11, 28) else str(trade_date)
    found = against(holiday_market, tmp_path, rows)
    assert found.agreeing == found.bars == len(rows)
    assert found.span[0] == chicago_ns("2024-11-26 17:00")
    rows[1]["time"] = "2024-11-28"  # Thanksgiving has no daily bar of its own
    found = against(holiday_market, tmp_path, rows)
    assert found.only_chart.tolist() == [utc_ns("2024-11-28 00:00")]
    assert found.only_database.tolist() == [chicago_ns("2024-11-27 17:00")]


def test_volume_is_compared_where_the_chart_has_it(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1m")
    traded = dict(
        zip(holiday_market.bars.ts.tolist(), holiday_market.bars.volume.tolist(), strict=True)
    )
    for row in rows:
        row["Volume"] = str(traded[minute_of(row)])
    assert against(holiday_market, tmp_path, rows).percent == 100
    rows[5]["Volume"] = "0"
    [difference] = against(holiday_market, tmp_path, rows).differences
    assert (difference.line, difference.column) == (7, "volume")


def test_what_is_not_compared_is_named(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = charts("1h")
    for row in rows:
        row |= {"Bias 5m": "1", "Bull Triangle": "1", "EMA": "20000"}
        del row["Bias 1d"]
    found = against(holiday_market, tmp_path, rows)
    said = "\n".join(found.not_compared)
    for part in (
        "volume: the export has no such column",
        "Bias 5m: bars of 1h don't show it, only Bias 1h and those above",
        "Bias 1d: the export has no such column",
        "Bull Triangle: triangles lie on minutes; export a 1m chart",
        "columns of other names: EMA",
    ):
        assert part in said
    assert "Bias 1m" not in said
    assert [c.column for c in found.columns] == [*PRICES, "Bias 1h", "Bias 4h"]


def test_a_chart_without_its_signals_says_so(
    holiday_market: StoredMarket, charts: Callable[[str], list[Row]], tmp_path: Path
) -> None:
    rows = [{name: row[name] for name in ("time", *PRICES)} for row in charts("1m")]
    found = against(holiday_market, tmp_path, rows)
    assert found.percent == 100
    assert sum("no such column" in reason for reason in found.not_compared) == 1 + 6 + 2


def test_bars_without_stored_signals_differ_in_them(
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
    database_url: str,
) -> None:
    bare = StoredMarket(Database(database_url), holiday_market.bars, holiday_market.sessions)
    store_clean(bare.database, bare.bars, HOLIDAY_WEEK)
    found = against(bare, tmp_path, charts("1m"), shown=5)
    assert found.agreeing == 0
    assert {d.database for d in found.differences} == {"nothing stored"}
    by_column = {c.column: c.agreeing for c in found.columns}
    assert by_column["close"] == found.bars


def test_dates_without_bars_are_named_with_the_command_that_makes_them(
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
    database_url: str,
) -> None:
    empty = StoredMarket(Database(database_url), holiday_market.bars, holiday_market.sessions)
    rows = charts("1h")
    found = against(empty, tmp_path, rows)
    assert (found.bars, found.agreeing, len(found.only_chart)) == (len(rows), 0, len(rows))
    said = "\n".join(found.warnings)
    # Nothing trades on Saturday, so that its bars are not missed.
    assert f"trisignal backfill {NQ} --start 2024-11-26 --end 2024-11-29" in said
    assert f"trisignal backfill {NQ} --start 2024-12-01 --end 2024-12-03" in said
    anchor_to_utc(empty.database)
    assert "counts higher bars from midnight UTC" in "\n".join(
        against(empty, tmp_path, rows).warnings
    )


def test_signals_in_doubt_are_named_with_the_command_that_computes_them(
    holiday_market: StoredMarket,
    charts: Callable[[str], list[Row]],
    tmp_path: Path,
    database: Database,
) -> None:
    day = DateRange(date(2024, 11, 27), date(2024, 11, 27))
    bars = holiday_market.bars.between(day.start_ns, day.end_ns)
    stored = StoredMarket(database, bars, holiday_market.sessions)
    store_clean(database, bars, day)
    store_signals(database, day)
    rows = [row for row in charts("1m") if day.start_ns <= minute_of(row) < day.end_ns]
    assert against(stored, tmp_path, rows).warnings == ()
    with database.connect("test") as connection:
        registry.set_symbol(connection, NQ, {"require_engulfing": "true"})
    [warning] = against(stored, tmp_path, rows).warnings
    assert "2024-11-27 are in doubt" in warning
    assert f"trisignal refresh {NQ}" in warning


def test_real_minutes_with_the_expected_signals_agree_in_everything(
    database: Database, shared_data: Path, tmp_path: Path
) -> None:
    folder, dates = shared_data / "nq_fut", DateRange(date(2024, 11, 1), date(2025, 1, 31))
    bars = lead_bars(folder)
    store_clean(database, bars, dates)
    store_signals(database, dates)
    events = {(row["ts"], row["direction"]) for row in _rows(folder / "expected_triangles.csv.gz")}
    rows = []
    for bar, seen in zip(rows_of(bars), _rows(folder / "expected_bias.csv.gz"), strict=True):
        rows.append(
            {"time": seen["ts"]}
            | {name: price_text(price) for name, price in zip(PRICES, bar[1:], strict=True)}
            | {f"Bias {name}": seen[column] for name, column in EXPECTED_COLUMNS.items()}
            | {
                "Bull Triangle": str((seen["ts"], "BULL") in events),
                "Bear Triangle": str((seen["ts"], "BEAR") in events),
            }
        )
    of = sessions("cme_equity", dates.start, dates.end)
    found = against(StoredMarket(database, bars, of), tmp_path, rows)
    assert (found.bars, found.agreeing) == (86_816, 86_816)
    assert [offset.contract for offset in found.offsets] == ["NQZ4", "NQH5"]


EXPECTED_COLUMNS = {
    "1m": "bias_1m",
    "5m": "bias_m5",
    "15m": "bias_m15",
    "1h": "bias_h1",
    "4h": "bias_h4",
    "1d": "bias_d1",
}


def _rows(path: Path) -> list[Row]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))
