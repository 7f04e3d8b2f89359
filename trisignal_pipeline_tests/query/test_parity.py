"""A chart against the database: full agreement where there is any, and every difference found."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import DateRange, iso_minute
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.query.chart_export import read_chart_export
from trisignal_pipeline.query.parity import Parity, compare
from trisignal_pipeline.query.price_offsets import SEVERAL, price_offsets
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.query.plain_chart import (
    PRICES,
    TIMEFRAMES,
    Row,
    iso_time,
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


@pytest.fixture(scope="session")
def charts(holiday_market: StoredMarket) -> Callable[[str], list[Row]]:
    """The export of each timeframe, whole bars only, fresh copies of its rows."""
    minutes, of = rows_of(holiday_market.bars), session_rows(holiday_market.sessions)
    # The last session runs on beyond the stored dates.
    last_close = chicago_ns("2024-12-03 16:00")

    @cache
    def made(timeframe: str) -> list[Row]:
        rows = plain_export(minutes, timeframe, of)
        first = chicago_ns("2024-11-26 17:00")
        return [row for row in rows if first <= minute_of(row) < last_close]

    return lambda timeframe: [dict(row) for row in made(timeframe)]


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


def test_an_offset_is_what_most_prices_have_or_none() -> None:
    stored = np.full((4, 5), 100)
    chart = stored + np.array([7, 7, 7, 9, 0])
    several = np.array([0, 0, 0, 0, 0])
    assert price_offsets(chart, stored, several, ["NQZ4"])[0].offset == 7
    chart = stored + np.array([7, 7, 1, 2, 3])
    found = price_offsets(chart, stored, several, ["NQZ4"])[0]
    assert (found.offset, found.bars, found.agreeing) == (0, 5, 0)
    assert price_offsets(chart, stored, np.full(5, SEVERAL), ["NQZ4"]) == {}


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


class TestCommand:
    @pytest.fixture
    def run(
        self, holiday_market: StoredMarket, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., tuple[int, str]]:
        monkeypatch.setenv("TRISIGNAL_DATABASE_URL", holiday_market.database.url)

        def run(*arguments: object) -> tuple[int, str]:
            result = CliRunner().invoke(trisignal, ["parity", NQ, *map(str, arguments)])
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            return result.exit_code, result.stdout

        return run

    def test_full_agreement_is_success(
        self,
        run: Callable[..., tuple[int, str]],
        charts: Callable[[str], list[Row]],
        tmp_path: Path,
    ) -> None:
        rows = charts("1h")
        for row in rows:
            row["time"] = iso_time(row)
        code, said = run(write_export(tmp_path / "chart.csv", rows))
        assert code == 0, said
        assert f"{len(rows):,} of {len(rows):,} bars agree (100 %)" in said

    def test_a_difference_is_failure_unless_so_much_is_allowed(
        self,
        run: Callable[..., tuple[int, str]],
        charts: Callable[[str], list[Row]],
        tmp_path: Path,
    ) -> None:
        rows = charts("1h")
        rows[7]["low"] = "12.5"
        path = write_export(tmp_path / "chart.csv", rows)
        code, said = run(path)
        assert code == 1
        assert "first 1 of 1 differences" in said
        assert iso_minute(minute_of(rows[7])) in said
        rate = 100 * (len(rows) - 1) / len(rows)
        assert run(path, "--min-agreement", rate - 0.01)[0] == 0
        assert run(path, "--min-agreement", rate + 0.01)[0] == 1
        assert run(path, "--end", "2024-11-26")[0] == 0

    def test_json_holds_everything(
        self,
        run: Callable[..., tuple[int, str]],
        charts: Callable[[str], list[Row]],
        tmp_path: Path,
    ) -> None:
        rows = charts("4h")
        row = rows.pop(2)
        truth = rows[4]["open"]
        rows[4]["open"] = "1"
        path = write_export(tmp_path / "chart.csv", rows)
        code, said = run(path, "--format", "json")
        found = json.loads(said)
        assert code == 1
        assert found["bars"] == len(rows) + 1
        assert found["agreeing"] == len(rows) - 1
        assert found["only_in_database"] == {"bars": 1, "first": [iso_minute(minute_of(row))]}
        assert found["only_in_chart"] == {"bars": 0, "first": []}
        assert found["differences"] == [
            {
                "ts": iso_minute(minute_of(rows[4])),
                "line": 6,
                "column": "open",
                "chart": "1",
                "database": f"{float(truth):.12g}",
            }
        ]
        assert {"column": "Bias 4h", "compared": len(rows), "agreeing": len(rows)} in found[
            "columns"
        ]

    def test_dates_beyond_the_export_are_refused(
        self,
        run: Callable[..., tuple[int, str]],
        charts: Callable[[str], list[Row]],
        tmp_path: Path,
    ) -> None:
        path = write_export(tmp_path / "chart.csv", charts("1h"))
        with pytest.raises(Exception, match="no bar of the export starts on 2025-01-01"):
            run(path, "--start", "2025-01-01")


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
