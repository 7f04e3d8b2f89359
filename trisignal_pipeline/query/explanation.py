"""An explained minute for programs: plain values, times in ISO 8601, prices as exact decimals."""

from __future__ import annotations

from typing import Any

from trisignal_pipeline.errors import NotFoundError, RangeError
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.schemas import BIAS_COLUMNS
from trisignal_pipeline.signal.explain import FinishedBar, MinuteExplanation, TimeframeView
from trisignal_pipeline.signal.explanation_text import decision
from trisignal_pipeline.signal.firings import Candle, Firing, Gap
from trisignal_pipeline.signal.replay import LastMinute
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES
from trisignal_pipeline.signal.timeframes import UnfinishedBar
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.explanation import Explanation, explain_minute


def explained(connection: Connection, market: Market, ts_ns: int) -> dict[str, Any]:
    """Why the minute that opens at `ts_ns` (nanoseconds, UTC) is as it is, as `as_values` says it.

    Args:
        connection: in autocommit, outside any transaction.
        market: whose anchor, filters and thresholds count.
        ts_ns: the bar's OPEN.

    Raises:
        NotFoundError: the signal reads no bar there; the message says why.
    """
    try:
        return as_values(explain_minute(connection, market, ts_ns))
    except RangeError as error:
        raise NotFoundError(str(error)) from error


def as_values(explanation: Explanation) -> dict[str, Any]:
    """The explanation as nested dictionaries and lists that JSON can hold."""
    minute, stored = explanation.minute, explanation.stored
    session = minute.session
    return {
        "symbol": explanation.symbol,
        "ts": iso_minute(minute.bar.ts),
        "source_table": explanation.table,
        "contract": minute.contract,
        "bar": {**_bar(minute.bar), "volume": minute.volume},
        "previous": None if minute.previous is None else _bar(minute.previous),
        "session": None
        if session is None
        else {
            "trade_date": session.trade_date.isoformat(),
            "open": iso_minute(session.open_ns),
            "close": iso_minute(session.close_ns),
            "daily_bar": session.daily_bar.isoformat(),
        },
        "calendar_warning": explanation.calendar_warning,
        **{
            name: BIAS_NAMES[view.bias_after]
            for name, view in zip(BIAS_COLUMNS, minute.timeframes, strict=True)
        },
        "timeframes": {view.timeframe: _view(view) for view in minute.timeframes},
        **_signal(minute),
        "stored": {
            "computed": stored.computed,
            "agrees": not stored.differences if stored.computed else None,
            "differences": list(stored.differences),
            "in_doubt": stored.in_doubt,
        },
    }


def _signal(minute: MinuteExplanation) -> dict[str, Any]:
    flags = minute.engulfing
    return {
        "engulfing": {name: getattr(flags, name) for name in flags.__slots__},
        "aligned_timeframes": list(minute.aligned_timeframes),
        "htf_bullish": minute.htf_bullish,
        "htf_bearish": minute.htf_bearish,
        "filters": {
            one.name: {"on": one.switched_on, "passed": one.passed} for one in minute.filters
        },
        "flip": DIRECTION_NAMES[minute.flip] or None,
        "triangle": DIRECTION_NAMES[minute.triangle] or None,
        "decision": decision(minute),
    }


def _view(view: TimeframeView) -> dict[str, Any]:
    gaps = view.gaps
    return {
        "bias_before": BIAS_NAMES[view.bias_before],
        "bias_after": BIAS_NAMES[view.bias_after],
        "finished": [_finished(seen) for seen in view.finished],
        "unfinished": None if view.unfinished is None else _bar(view.unfinished),
        "gap_above": None if gaps.above is None else _gap(gaps.above),
        "gap_below": None if gaps.below is None else _gap(gaps.below),
        "gaps_around": [_gap(gap) for gap in gaps.around],
        "gaps_alive": gaps.alive,
    }


def _finished(seen: FinishedBar) -> dict[str, Any]:
    carried = seen.carried
    return {
        "bar": _bar(carried.bar),
        "late": seen.late,
        "bias_before": BIAS_NAMES[carried.bias_before],
        "bias_after": BIAS_NAMES[carried.bias_after],
        "fired": [_firing(firing) for firing in carried.firings],
    }


def _firing(firing: Firing) -> dict[str, Any]:
    return {
        "rule": firing.rule.value,
        "bias": None if firing.bias is None else BIAS_NAMES[firing.bias],
        "level": None if firing.level is None else points(firing.level),
        "gap": None if firing.gap is None else _gap(firing.gap),
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "kind": gap.kind.value,
        "bottom": points(gap.bottom),
        "top": points(gap.top),
        "born": iso_minute(gap.born_ns),
    }


def _bar(bar: Candle | LastMinute | UnfinishedBar) -> dict[str, Any]:
    prices = {name: points(getattr(bar, name)) for name in ("open", "high", "low", "close")}
    return {"ts": iso_minute(bar.ts), **prices}
