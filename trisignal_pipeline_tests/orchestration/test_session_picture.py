"""The picture of a session: what is drawn, where, and how much of it there is."""

from __future__ import annotations

import struct
import subprocess
import sys
from datetime import date

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars, Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, midnight_ns
from trisignal_pipeline.orchestration.assets.session_metadata import closed_spans
from trisignal_pipeline.orchestration.session_picture import (
    Session,
    candles_of,
    draw,
    session_png,
)
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BEARISH, BULLISH, NEUTRAL, TIMEFRAMES

TUESDAY, SUNDAY, SATURDAY = date(2024, 11, 5), date(2024, 11, 10), date(2024, 11, 9)
WHOLE_DAY = np.array([minute for minute in range(1440) if minute // 60 != 22])
LARGEST = 150_000


def session(
    minutes: Int64s = WHOLE_DAY,
    triangles: tuple[tuple[int, int], ...] = (),
    *,
    roll_at: int | None = None,
    day: date = TUESDAY,
) -> Session:
    """A random walk on `minutes` of the date, with triangles at (minute, direction)."""
    rng = np.random.default_rng(7)
    close = 20_000 + np.cumsum(rng.integers(-8, 9, len(minutes))) / 4
    open_ = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(open_, close) + rng.integers(0, 8, len(minutes)) / 4
    low = np.minimum(open_, close) - rng.integers(0, 8, len(minutes)) / 4
    ts = midnight_ns(day) + minutes.astype(np.int64) * NS_PER_MINUTE
    contract = np.zeros(len(minutes), np.int32)
    if roll_at is not None:
        contract[minutes >= roll_at] = 1
    prices = ((column * PRICE_UNIT).astype(np.int64) for column in (open_, high, low, close))
    bars = Bars(ts, *prices, np.ones_like(ts), contract, ("NQZ4", "NQH5"))
    bias = rng.choice([BULLISH, BEARISH], (len(minutes), len(TIMEFRAMES))).astype(np.int8)
    return Session(
        "GLBX.MDP3:NQ",
        day,
        bars,
        BiasSeries(ts, bias),
        midnight_ns(day) + np.array([at for at, _ in triangles], np.int64) * NS_PER_MINUTE,
        np.array([direction for _, direction in triangles], np.int8),
        closed_spans("cme_equity", day),
    )


def artist(figure: Figure, gid: str) -> list[object]:
    return list(figure.findobj(lambda drawn: drawn.get_gid() == gid))


def points(figure: Figure, direction: str) -> list[tuple[float, float]]:
    [scatter] = artist(figure, direction)
    offsets = scatter.get_offsets()  # type: ignore[attr-defined]
    return [(float(x), float(y)) for x, y in offsets]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_a_busy_day_is_a_small_file_that_fits_the_dialogue() -> None:
    busy = session(
        triangles=tuple((int(at), BULLISH if at % 2 else BEARISH) for at in WHOLE_DAY[::5])
    )
    png = session_png(busy)
    assert size(png) == (960, 640)
    assert 20_000 < len(png) < LARGEST


def test_the_same_session_gives_the_same_bytes() -> None:
    assert session_png(session()) == session_png(session())


def test_triangles_stand_on_their_minutes_bull_below_the_candle_and_bear_above() -> None:
    drawn = session(triangles=((3, BULLISH), (617, BEARISH), (1439, BULLISH)))
    candles = candles_of(drawn.bars, drawn.day)
    figure = draw(drawn)

    def candle(minute: int) -> int:
        [found] = np.flatnonzero(candles.minute == minute)
        return int(found)

    assert points(figure, "BULL") == [
        (3.5, candles.low[candle(0)]),
        (1439.5, candles.low[candle(1435)]),
    ]
    assert points(figure, "BEAR") == [(617.5, candles.high[candle(615)])]
    # Beyond the candle, by as many pixels whatever the prices.
    for direction, away in (("BULL", -1), ("BEAR", 1)):
        [scatter] = artist(figure, direction)
        shown = scatter.get_offset_transform().transform((0, 20_000))  # type: ignore[attr-defined]
        bare = figure.axes[0].transData.transform((0, 20_000))
        assert shown[0] == pytest.approx(bare[0])
        assert away * (shown[1] - bare[1]) > 3


def test_a_candle_holds_the_bars_of_five_minutes() -> None:
    bars = session().bars
    candles = candles_of(bars, TUESDAY)
    assert candles.period == 5
    assert candles.minute.tolist() == [at for at in range(0, 1440, 5) if at // 60 != 22]
    assert candles.open[1] * PRICE_UNIT == bars.open[5]
    assert candles.high[1] * PRICE_UNIT == bars.high[5:10].max()
    assert candles.low[1] * PRICE_UNIT == bars.low[5:10].min()
    assert candles.close[1] * PRICE_UNIT == bars.close[9]


def test_a_sunday_evening_is_drawn_minute_by_minute() -> None:
    drawn = session(np.arange(1380, 1440), ((1400, BULLISH),), day=SUNDAY)
    candles = candles_of(drawn.bars, SUNDAY)
    assert candles.period == 1
    assert len(candles.minute) == 60
    assert draw(drawn).axes[0].get_xlim() == (1380, 1440)


def test_a_day_without_triangles_says_so() -> None:
    figure = draw(session())
    assert points(figure, "BULL") == points(figure, "BEAR") == []
    assert any("0 triangles" in text.get_text() for text in figure.texts)


def test_a_single_bar_that_traded_at_one_price_is_drawn() -> None:
    one = session(np.array([600]))
    flat = Bars(
        one.bars.ts,
        *[np.array([20_000 * PRICE_UNIT])] * 4,
        one.bars.volume,
        one.bars.contract,
        one.bars.contracts,
    )
    drawn = Session(one.symbol, one.day, flat, one.series, one.triangle_ts, one.direction)
    low, high = draw(drawn).axes[0].get_ylim()
    assert low < 20_000 < high
    assert session_png(drawn)


def test_a_roll_is_marked_and_no_candle_mixes_contracts() -> None:
    drawn = session(roll_at=602)
    candles = candles_of(drawn.bars, TUESDAY)
    assert candles.minute.tolist().count(600) == 2
    figure = draw(drawn)
    [line] = artist(figure, "roll")
    assert list(line.get_xdata()) == [602, 602]  # type: ignore[attr-defined]
    assert any("NQZ4 then NQH5" in text.get_text() for text in figure.texts)


def test_the_ribbons_show_each_timeframe_until_the_close_and_nothing_while_closed() -> None:
    drawn = session(np.arange(0, 1320, 10))
    figure = draw(drawn)
    [image] = artist(figure, "ribbons")
    colours = np.asarray(image.get_array())  # type: ignore[attr-defined]
    assert colours.shape == (len(TIMEFRAMES), 1440, 3)
    white = (colours == 1).all(axis=2)
    assert not white[:, :1310].any(), "a bias stands until the next bar"
    assert white[:, 1320:].all()
    ticks = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert ticks == list(TIMEFRAMES)
    for row in range(len(TIMEFRAMES)):
        same = (colours[row, 0] == colours[row, :1310:10]).all(axis=1)
        expected = drawn.series.bias[:, row] == drawn.series.bias[0, row]
        assert same.tolist() == expected[:131].tolist()


def test_the_three_biases_have_three_colours() -> None:
    drawn = session(np.arange(3))
    drawn.series.bias[:, 0] = [BULLISH, BEARISH, NEUTRAL]
    [image] = artist(draw(drawn), "ribbons")
    colours = np.asarray(image.get_array())[0, :3]  # type: ignore[attr-defined]
    assert len({tuple(colour) for colour in colours.tolist()}) == 3


@pytest.mark.parametrize(
    ("day", "closed"),
    [(TUESDAY, [(1320, 1380)]), (SUNDAY, [(0, 1380)]), (SATURDAY, [(0, 1440)])],
)
def test_the_market_is_closed_between_sessions(day: date, closed: list[tuple[int, int]]) -> None:
    found = closed_spans("cme_equity", day)
    assert [
        ((start - midnight_ns(day)) // NS_PER_MINUTE, (end - midnight_ns(day)) // NS_PER_MINUTE)
        for start, end in found
    ] == closed


def test_the_break_between_sessions_is_shaded() -> None:
    figure = draw(session())
    spans = artist(figure, "closed")
    assert len(spans) == 2, "one in each half"
    for span in spans:
        assert span.get_x() == 1320  # type: ignore[attr-defined]
        assert span.get_width() == 60  # type: ignore[attr-defined]


def test_a_session_without_bars_and_biases_of_other_bars_are_refused() -> None:
    nothing, whole = session(np.empty(0, np.int64)), session()
    with pytest.raises(InvalidBarsError, match="no bars to draw"):
        draw(nothing)
    mixed = Session(
        whole.symbol, whole.day, whole.bars, nothing.series, whole.triangle_ts, whole.direction
    )
    with pytest.raises(InvalidBarsError, match="don't belong"):
        draw(mixed)


def test_drawing_changes_no_setting_and_opens_no_figure_of_pyplot() -> None:
    settings, modules = dict(mpl.rcParams), set(sys.modules)
    session_png(session())
    assert dict(mpl.rcParams) == settings
    assert "matplotlib.pyplot" not in set(sys.modules) - modules
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        assert pyplot.get_fignums() == []


def test_commands_and_definitions_load_without_the_plotting_library() -> None:
    program = (
        "import sys\n"
        "import trisignal_pipeline.cli, trisignal_pipeline.orchestration.definitions\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
