"""Reading a chart export: every form it comes in, and what is wrong with one that isn't."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import RefusedFileError
from trisignal_pipeline.market.dates import midnight_ns
from trisignal_pipeline.query.chart_export import ChartExport, read_chart_export

HEADER = "time,open,high,low,close"
START = 1_730_419_200  # 2024-11-01T00:00:00Z


def read(folder: Path, *lines: str) -> ChartExport:
    path = folder / "chart.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_chart_export(path)


def rows(*times: object, more: str = "") -> list[str]:
    return [f"{time},20000,20001.5,19999.25,20000.5{more}" for time in times]


def spaced(*minutes: int) -> list[int]:
    return [START + 60 * minute for minute in minutes]


def test_prices_are_exact_and_lines_counted_from_the_header(tmp_path: Path) -> None:
    export = read(tmp_path, HEADER, *rows(*spaced(0, 1)))
    assert export.prices[:, 0].tolist() == [
        20_000_000_000_000,
        20_001_500_000_000,
        19_999_250_000_000,
        20_000_500_000_000,
    ]
    assert export.line.tolist() == [2, 3]
    assert export.volume is None
    assert export.bias == {}
    assert export.triangles == {}


@pytest.mark.parametrize(
    "times",
    [
        spaced(0, 1),
        ["2024-11-01T00:00:00Z", "2024-11-01T00:01:00Z"],
        ["2024-10-31T19:00:00-05:00", "2024-10-31T19:01:00-05:00"],
        ["2024-11-01T05:30:00+05:30", "2024-11-01T05:31:00+05:30"],
        ["2024-11-01 00:00:00+00:00", "2024-11-01 00:01:00+00:00"],
    ],
)
def test_a_time_is_unix_seconds_or_iso_with_any_offset(tmp_path: Path, times: list[object]) -> None:
    export = read(tmp_path, HEADER, *rows(*times))
    assert export.ts.tolist() == [START * 10**9, (START + 60) * 10**9]
    assert not export.trade_dates


def test_bare_dates_are_trade_dates(tmp_path: Path) -> None:
    export = read(tmp_path, HEADER, *rows("2024-11-01", "2024-11-04", "2024-11-05"))
    assert export.trade_dates
    assert export.timeframe == "1d"
    assert export.ts[0] == START * 10**9


@pytest.mark.parametrize(
    ("minutes", "timeframe"),
    [
        ((0, 1, 9), "1m"),
        ((0, 30, 35, 2000), "5m"),
        ((0, 45, 60), "15m"),
        ((0, 60, 6000), "1h"),
        ((0, 240, 480), "4h"),
        ((0, 1440), "1d"),
        ((0, 4320, 5700), "1d"),  # clocks went forward: 23 hours
        ((0, 1500, 5820), "1d"),  # clocks went back: 25 hours
    ],
)
def test_the_timeframe_is_the_narrowest_spacing_whatever_the_gaps(
    tmp_path: Path, minutes: tuple[int, ...], timeframe: str
) -> None:
    assert read(tmp_path, HEADER, *rows(*spaced(*minutes))).timeframe == timeframe


@pytest.mark.parametrize("minutes", [(0, 2), (0, 30, 60), (0, 120), (0, 10_080)])
def test_a_spacing_of_no_timeframe_is_refused(tmp_path: Path, minutes: tuple[int, ...]) -> None:
    with pytest.raises(RefusedFileError, match=r"minutes apart.*1m, 5m, 15m, 1h, 4h, 1d"):
        read(tmp_path, HEADER, *rows(*spaced(*minutes)))


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("1", 1),
        ("0", 0),
        ("-1", -1),
        ("1.0", 1),
        ("-1.00", -1),
        ("Bullish", 1),
        ("BEARISH", -1),
        ("neutral", 0),
        ("", 0),
        ("NaN", 0),
    ],
)
def test_a_bias_is_a_number_or_a_name(tmp_path: Path, cell: str, code: int) -> None:
    export = read(tmp_path, f"{HEADER},Bias 4h", *rows(*spaced(0, 1), more=f",{cell}"))
    assert export.bias["4h"].tolist() == [code, code]


@pytest.mark.parametrize(
    ("cell", "there"),
    [("1", True), ("20123.25", True), ("x", True), ("true", True), ("-1", True)]
    + [(cell, False) for cell in ("", "0", "0.0", "NaN", "nan", "false", "na")],
)
def test_a_triangle_is_there_unless_its_cell_says_nothing(
    tmp_path: Path, cell: str, there: bool
) -> None:
    export = read(tmp_path, f"{HEADER},Bear Triangle", *rows(*spaced(0, 1), more=f",{cell}"))
    assert export.triangles[-1].tolist() == [there, there]
    assert 1 not in export.triangles


def test_names_of_columns_may_differ_in_case_and_spaces_and_come_in_any_order(
    tmp_path: Path,
) -> None:
    export = read(
        tmp_path,
        "Close,VOLUME,Low,High, Open ,time,EMA,bias  1D",
        f"3,17,1,4,2,{START},2.5,1",
        f"3,18,1,4,2,{START + 60},2.5,-1",
    )
    assert export.prices[:, 0].tolist() == [2 * 10**9, 4 * 10**9, 10**9, 3 * 10**9]
    assert export.volume is not None
    assert export.volume.tolist() == [17, 18]
    assert export.bias["1d"].tolist() == [1, -1]
    assert export.ignored == ("EMA",)


def test_a_byte_order_mark_and_blank_lines_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "chart.csv"
    first, second = rows(*spaced(0, 1))
    path.write_bytes(f"\ufeff{HEADER}\r\n{first}\r\n\r\n{second}\r\n".encode())
    assert read_chart_export(path).line.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("time,open,high,low", ["1,2,3,4"], r"line 1: there is no column close"),
        (f"{HEADER},Bias 1m,bias 1m", rows(START, more=",1,1"), r"line 1: two columns.*bias 1m"),
        (HEADER, [], r"holds no bars"),
        (HEADER, rows(START), r"holds one bar"),
        (HEADER, [*rows(START), "1,2,3"], r"line 3: 3 cells under 5 columns"),
        (HEADER, [*rows(START), f"{START + 60},1,1,,1"], r"line 3, column low: '' is not a price"),
        (HEADER, [*rows(START), f"{START + 60},1,NaN,1,1"], r"line 3, column high: 'NaN'"),
        (HEADER, rows(START, START + 30), r"line 3, column time: .* not the start of a minute"),
        (HEADER, rows(START, START - 60), r"line 3, column time: .* does not come after"),
        (HEADER, rows(START, START), r"line 3, column time: .* does not come after"),
        (HEADER, rows(START * 1000), r"line 2, column time: .* too large for Unix seconds"),
        (HEADER, rows("2024-11-01T00:00:00"), r"line 2, column time: .* has no offset from UTC"),
        (HEADER, rows("01.11.2024"), r"line 2, column time: .* neither ISO 8601 nor Unix"),
        (HEADER, rows(START, "2024-11-02"), r"line 3, column time: is written another way"),
        (f"{HEADER},Bias 1h", rows(START, more=",2"), r"line 2, column Bias 1h: '2' is not a bias"),
        (f"{HEADER},Volume", rows(START, more=",1.5"), r"line 2, column Volume: '1.5' is not a nu"),
        (f"{HEADER},Volume", rows(START, more=",-1"), r"line 2, column Volume: '-1' is not a numb"),
    ],
)
def test_a_malformed_export_is_refused_by_line_and_column(
    tmp_path: Path, header: str, lines: list[str], message: str
) -> None:
    with pytest.raises(RefusedFileError, match=rf"chart\.csv: {message}"):
        read(tmp_path, header, *lines)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match=r"none\.csv: can't be read: No such file"):
        read_chart_export(tmp_path / "none.csv")
    path = tmp_path / "chart.csv"
    path.write_bytes(b"time,open\xff\xfe\n")
    with pytest.raises(RefusedFileError, match="is not a CSV file of text"):
        read_chart_export(path)
    path.write_text('time,"open\n', encoding="utf-8")
    with pytest.raises(RefusedFileError, match="is not a CSV file of text"):
        read_chart_export(path)


def test_between_keeps_the_bars_that_start_within(tmp_path: Path) -> None:
    export = read(
        tmp_path,
        f"{HEADER},Volume,Bias 1m,Bull Triangle",
        *rows(*spaced(-1, 0, 1439, 1440), more=",5,1,0"),
    )
    day = midnight_ns(date(2024, 11, 1))
    within = export.between(day, day + 86_400 * 10**9)
    assert within.line.tolist() == [3, 4]
    assert within.prices.shape == (4, 2)
    assert within.volume is not None
    assert {len(within.volume), len(within.bias["1m"]), len(within.triangles[1])} == {2}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 5),
            *(st.integers(-(10**15), 10**15) for _ in range(4)),
            st.sampled_from((-1, 0, 1)),
        ),
        min_size=2,
        max_size=20,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, bars: list[tuple[int, ...]]
) -> None:
    ts = START + 60 * np.cumsum([1, *(bar[0] for bar in bars[1:])])
    ts = np.concatenate((ts, [ts[-1] + 60]))  # two neighbours, so that the timeframe is 1m
    bars = [*bars, bars[-1]]
    lines = [
        ",".join([str(time), *(f"{price / 10**9:.9f}" for price in bar[1:5]), str(bar[5])])
        for time, bar in zip(ts.tolist(), bars, strict=True)
    ]
    export = read(tmp_path_factory.mktemp("chart"), f"{HEADER},Bias 15m", *lines)
    assert export.timeframe == "1m"
    assert (export.ts // 10**9).tolist() == ts.tolist()
    assert export.bias["15m"].tolist() == [bar[5] for bar in bars]
    # Floats hold fifteen digits, so the nine decimals written may be off in the last one.
    assert np.abs(export.prices.T - np.array([bar[1:5] for bar in bars])).max() <= 1
