"""A picture of one UTC date: candles, the triangles on them, and the six biases below."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.bars import PRICE_UNIT, Bars, Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, midnight_ns
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BEARISH, BIAS_NAMES, BULLISH, NEUTRAL, TIMEFRAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MINUTES_PER_DAY = 24 * 60
SHORT_MINUTES = 6 * 60
"""What trades no longer than this is drawn in 1-minute candles, a whole day in 5-minute ones."""

# Dagster shows a picture as large as it is and cuts what is wider than its dialogue: 80 % of the
# window, some 970 pixels on a small laptop.
_INCHES = (9.6, 6.4)
_DPI = 100
_RISING, _FALLING = "#26a69a", "#ef5350"
_BULL, _BEAR = "#00695c", "#b71c1c"
_BIAS_COLOURS = {BULLISH: "#26a69a", BEARISH: "#ef5350", NEUTRAL: "#cfd8dc"}
_INK, _GRID, _CLOSED = "#37474f", "#eceff1", "#f3f4f6"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What is drawn of one market on one UTC date.

    bars        1-minute bars of that date, in order of time, at least one
    series      the six biases on each of them
    triangle_ts, direction   int64 ns and int8 columns of one length: where the triangles are
    closed      spans [start, end) in which the market doesn't trade, nanoseconds (UTC)
    """

    symbol: str
    day: date
    bars: Bars
    series: BiasSeries
    triangle_ts: Int64s
    direction: Int8s
    closed: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles in columns of one length: `minute` of the day at which each opens, prices in points.

    Bars of two contracts are never in one candle.
    """

    period: int
    minute: Int64s
    open: Floats
    high: Floats
    low: Floats
    close: Floats


def session_png(session: Session) -> bytes:
    """The picture of `session`, 960 x 640 pixels.

    Raises:
        InvalidBarsError: there are no bars to draw, or the biases are those of others.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 0.4 s

    figure = draw(session)
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(
        content, format="png", metadata={"Software": None}, pil_kwargs={"optimize": True}
    )
    return content.getvalue()


def draw(session: Session) -> Figure:
    """The figure behind `session_png`, on no canvas of its own. x counts minutes of the UTC date.

    Raises:
        InvalidBarsError: there are no bars to draw, or the biases are those of others.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 0.4 s

    if not len(session.bars):
        raise InvalidBarsError(f"{session.symbol} {session.day}: there are no bars to draw")
    if not np.array_equal(session.bars.ts, session.series.ts):
        raise InvalidBarsError(
            f"{session.symbol} {session.day}: the biases don't belong to the bars; "
            "give the series that was made from them"
        )
    figure = Figure(figsize=_INCHES, dpi=_DPI, facecolor="white")
    price, ribbons = figure.subplots(
        2,
        1,
        sharex=True,
        gridspec_kw={
            "height_ratios": [4.6, 1],
            "hspace": 0.03,
            "left": 0.036,
            "right": 0.932,
            "top": 0.9,
            "bottom": 0.04,
        },
    )
    candles = candles_of(session.bars, session.day)
    _draw_candles(price, candles)
    _draw_triangles(price, session, candles)
    _draw_rolls(price, session)
    _draw_ribbons(ribbons, session)
    for axes in (price, ribbons):
        _draw_closed(axes, session)
    _draw_times(price, ribbons, session)
    _write_titles(price, session, candles)
    return figure


def candles_of(bars: Bars, day: date) -> Candles:
    """`bars` of `day` as candles of 5 minutes, or of 1 where they span no more than 6 hours."""
    minutes = _minutes(bars.ts, day)
    period = 1 if minutes[-1] - minutes[0] < SHORT_MINUTES else 5
    slot = minutes // period
    first = np.flatnonzero(
        np.concatenate(([True], (np.diff(slot) != 0) | (np.diff(bars.contract) != 0)))
    )
    last = np.append(first[1:], len(bars)) - 1
    return Candles(
        period,
        slot[first] * period,
        _points(bars.open[first]),
        _points(np.maximum.reduceat(bars.high, first)),
        _points(np.minimum.reduceat(bars.low, first)),
        _points(bars.close[last]),
    )


def _draw_candles(axes: Axes, candles: Candles) -> None:
    from matplotlib.collections import LineCollection, PolyCollection  # noqa: PLC0415

    middle = candles.minute + candles.period / 2
    half = candles.period * 0.36
    colours = [_RISING if up else _FALLING for up in (candles.close >= candles.open).tolist()]
    wicks = np.stack(
        (np.column_stack((middle, candles.low)), np.column_stack((middle, candles.high))), axis=1
    )
    left, right = middle - half, middle + half
    bodies = np.stack(
        (
            np.column_stack((left, candles.open)),
            np.column_stack((right, candles.open)),
            np.column_stack((right, candles.close)),
            np.column_stack((left, candles.close)),
        ),
        axis=1,
    )
    axes.add_collection(LineCollection(list(wicks), colors=colours, linewidths=0.7, gid="wicks"))
    axes.add_collection(
        PolyCollection(
            list(bodies), facecolors=colours, edgecolors=colours, linewidths=0.4, gid="bodies"
        )
    )
    low, high = float(candles.low.min()), float(candles.high.max())
    margin = max((high - low) * 0.06, abs(high) * 1e-5)
    axes.set_ylim(low - margin, high + margin)


def _draw_triangles(axes: Axes, session: Session, candles: Candles) -> None:
    """BULL below the candle, BEAR above it, as a chart shows them; each over its own minute."""
    from matplotlib.transforms import ScaledTranslation  # noqa: PLC0415

    minutes = _minutes(session.triangle_ts, session.day)
    candle = np.searchsorted(candles.minute, minutes, side="right") - 1
    figure = axes.get_figure(root=True)
    assert figure is not None
    for code, name, marker, colour, edge, away in (
        (BULLISH, "BULL", "^", _BULL, candles.low, -5),
        (BEARISH, "BEAR", "v", _BEAR, candles.high, 5),
    ):
        rows = session.direction == code
        axes.scatter(
            minutes[rows] + 0.5,
            edge[candle[rows]],
            s=16,
            marker=marker,
            color=colour,
            linewidths=0,
            zorder=3,
            gid=name,
            label=f"{name}  {int(rows.sum())}",
            transform=axes.transData + ScaledTranslation(0, away / 72, figure.dpi_scale_trans),
        )


def _draw_rolls(axes: Axes, session: Session) -> None:
    """A line where the bars go over to another contract."""
    bars = session.bars
    for row in (np.flatnonzero(np.diff(bars.contract)) + 1).tolist():
        at = int(_minutes(bars.ts[row : row + 1], session.day)[0])
        axes.axvline(at, color=_INK, linestyle="--", linewidth=1, gid="roll")
        axes.annotate(
            f" {bars.contracts[bars.contract[row]]}",
            (at, 0.02),
            xycoords=axes.get_xaxis_transform(),
            color=_INK,
            fontsize=8,
        )


def _draw_ribbons(axes: Axes, session: Session) -> None:
    """A row for each timeframe; a bias stands until the next bar, or the market's close."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    minutes = _minutes(session.series.ts, session.day)
    last = np.searchsorted(minutes, np.arange(MINUTES_PER_DAY), side="right") - 1
    shown = (last >= 0) & (np.arange(MINUTES_PER_DAY) <= minutes[-1])
    for start, end in session.closed:
        closed = _minutes(np.array([start, end]), session.day)
        shown[max(closed[0], 0) : max(closed[1], 0)] = False
    shown[minutes] = True
    palette = np.array([to_rgb(_BIAS_COLOURS[code]) for code in (NEUTRAL, BULLISH, BEARISH)])
    image = np.ones((len(TIMEFRAMES), MINUTES_PER_DAY, 3))
    image[:, shown] = palette[session.series.bias[last[shown]].T]
    axes.imshow(
        image,
        aspect="auto",
        interpolation="nearest",
        extent=(0, MINUTES_PER_DAY, len(TIMEFRAMES), 0),
        gid="ribbons",
    )
    axes.set_yticks(np.arange(len(TIMEFRAMES)) + 0.5, TIMEFRAMES, fontsize=8, color=_INK)
    for edge in range(1, len(TIMEFRAMES)):
        axes.axhline(edge, color="white", linewidth=2)
    axes.tick_params(length=0)


def _draw_closed(axes: Axes, session: Session) -> None:
    for start, end in session.closed:
        first, after = _minutes(np.array([start, end]), session.day).tolist()
        axes.axvspan(first, after, color=_CLOSED, linewidth=0, zorder=0, gid="closed")


def _draw_times(price: Axes, ribbons: Axes, session: Session) -> None:
    minutes = _minutes(session.bars.ts, session.day)
    first, after = math.floor(minutes[0] / 60) * 60, math.ceil((minutes[-1] + 1) / 60) * 60
    price.set_xlim(first, after)
    step = next(step for step in (10, 30, 60, 120) if (after - first) / step <= 13)
    ticks = range(first, after + 1, step)
    ribbons.set_xticks(
        list(ticks),
        [f"{tick // 60:02d}:{tick % 60:02d}" for tick in ticks],
        fontsize=8,
        color=_INK,
    )
    price.tick_params(axis="x", length=0, labelbottom=False)
    price.yaxis.tick_right()
    low, high = price.get_ylim()
    decimals = max(0, math.ceil(-math.log10((high - low) / 10)))
    price.yaxis.set_major_formatter(lambda value, _: f"{value:,.{decimals}f}")
    price.tick_params(axis="y", labelsize=8, labelcolor=_INK, length=0)
    price.grid(color=_GRID, linewidth=0.8)
    price.set_axisbelow(True)
    for axes in (price, ribbons):
        for spine in axes.spines.values():
            spine.set_color("#cfd8dc")


def _write_titles(axes: Axes, session: Session, candles: Candles) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    bars = session.bars
    # In the order in which they traded.
    contracts = " then ".join(
        bars.contracts[code] for code in dict.fromkeys(bars.contract.tolist())
    )
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.text(
        0.036,
        0.955,
        f"{session.symbol}   {session.day:%a %Y-%m-%d}   {contracts}",
        fontsize=12,
        fontweight="bold",
        color=_INK,
    )
    figure.text(
        0.036,
        0.916,
        f"{len(bars):,} bars as {candles.period}-minute candles, {len(session.triangle_ts)} "
        "triangles; times are UTC",
        fontsize=8.5,
        color=_INK,
    )
    markers, _ = axes.get_legend_handles_labels()
    patches = [
        Patch(color=_BIAS_COLOURS[code], label=BIAS_NAMES[code])
        for code in (BULLISH, BEARISH, NEUTRAL)
    ]
    figure.legend(
        handles=[*markers, *patches],
        loc="upper right",
        bbox_to_anchor=(0.94, 0.952),
        ncols=5,
        frameon=False,
        fontsize=8.5,
        labelcolor=_INK,
        handletextpad=0.4,
        handlelength=1.4,
        columnspacing=1.2,
    )


def _minutes(ts: Int64s, day: date) -> Int64s:
    """Minutes since the date's midnight, UTC."""
    return np.asarray((ts - midnight_ns(day)) // NS_PER_MINUTE, np.int64)


def _points(prices: Int64s) -> Floats:
    return prices / PRICE_UNIT
