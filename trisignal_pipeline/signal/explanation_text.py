"""An explained minute in lines of text, for a terminal or a log. Times are UTC, prices points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.signal.explain import (
    FinishedBar,
    MinuteExplanation,
    NearbyGaps,
    TimeframeView,
)
from trisignal_pipeline.signal.firings import Candle, FiredRule, Firing, Gap
from trisignal_pipeline.signal.replay import LastMinute
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES, NEUTRAL, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import UnfinishedBar

_INDENT = "    "
_MOST_HOLDING = 3
_CENT = Decimal("0.01")


def points(price: int) -> str:
    """`price` (units of 1e-9) in points, exactly, with two decimals or as many as it has."""
    exact = Decimal(price).scaleb(-9).normalize()
    return f"{exact if exact != exact.quantize(_CENT) else exact.quantize(_CENT):f}"


def minute_lines(minute: MinuteExplanation) -> list[str]:
    """The minute as a trader would ask for it, from its bar to the decision."""
    bias_rows = [
        ("bias", *(view.timeframe for view in minute.timeframes)),
        ("before", *(BIAS_NAMES[view.bias_before] for view in minute.timeframes)),
        ("after", *(BIAS_NAMES[view.bias_after] for view in minute.timeframes)),
    ]
    return [
        *_aligned(_bar_rows(minute)),
        "",
        *_aligned(bias_rows),
        "",
        "rules that fired",
        *(_INDENT + line for view in minute.timeframes for line in _fired_lines(view)),
        "",
        f"live gaps nearest to the close of {points(minute.bar.close)}",
        *(_INDENT + line for line in _aligned(_gap_rows(minute))),
        "",
        *_aligned(
            [
                ("engulfing", engulfing_words(minute)),
                ("alignment", alignment_words(minute)),
                ("filters", filter_words(minute)),
                ("decision", decision(minute)),
            ]
        ),
    ]


def decision(minute: MinuteExplanation) -> str:
    """Whether the minute is a triangle, and why or why not, in a sentence."""
    view = minute.timeframes[0]
    if minute.previous is None:
        return "no triangle: this is the first bar of the history, which compares with nothing"
    if minute.flip == NEUTRAL:
        return f"no triangle: the 1-minute bias was {BIAS_NAMES[view.bias_before]} and stays so"
    became = (
        f"the 1-minute bias became {BIAS_NAMES[view.bias_after]} and was "
        f"{BIAS_NAMES[view.bias_before]} on the bar before"
    )
    if minute.triangle != NEUTRAL:
        return f"{DIRECTION_NAMES[minute.triangle]} triangle: {became}"
    stopped = [one.name for one in minute.filters if one.switched_on and not one.passed]
    return f"no triangle: {became}, but {' and '.join(stopped)} did not let it pass"


def engulfing_words(minute: MinuteExplanation) -> str:
    """How the bar engulfs the one before it."""
    flags = minute.engulfing
    if not (flags.bullish or flags.bearish):
        return "the bar does not engulf the one before"
    direction, sweeps = (
        ("bullish", flags.bullish_sweep) if flags.bullish else ("bearish", flags.bearish_sweep)
    )
    return f"{direction}, {'and' if sweeps else 'but does not'} sweep{'s' if sweeps else ''} it"


def alignment_words(minute: MinuteExplanation) -> str:
    """Whether the timeframes that are switched on agree."""
    if not minute.aligned_timeframes:
        return "no timeframe is switched on: agrees with either direction"
    agree = {
        (True, False): "all Bullish",
        (False, True): "all Bearish",
        (False, False): "neither all Bullish nor all Bearish",
    }[minute.htf_bullish, minute.htf_bearish]
    return f"{' '.join(minute.aligned_timeframes)}: {agree}"


def filter_words(minute: MinuteExplanation) -> str:
    """Each filter: on or off, and how the flip fares with it."""
    fared = {None: "", True: " (passed)", False: " (not passed)"}
    return ", ".join(
        f"{one.name} {'on' if one.switched_on else 'off'}{fared[one.passed]}"
        for one in minute.filters
    )


def firing_words(firing: Firing, close: int) -> tuple[str, ...]:
    """One fired rule as columns: the rule, what it applied to, what was compared, the outcome.

    `close` is the close of the bar it fired on, units of 1e-9.
    """
    outcome = "" if firing.bias is None else f"-> {BIAS_NAMES[firing.bias]}"
    if firing.gap is None:
        above = firing.rule is FiredRule.NEW_HIGH
        return (
            firing.rule.value,
            f"{'high' if above else 'low'} of all earlier bars {points(firing.level or 0)}",
            f"close {points(close)} is {'above' if above else 'below'} it",
            outcome,
        )
    gap = firing.gap
    if firing.rule is FiredRule.NEW_GAP:
        return firing.rule.value, _gap_words(gap), "opened by this bar", outcome
    side = "above its top" if gap.kind.goes_above else "below its bottom"
    return (
        firing.rule.value,
        _gap_words(gap),
        f"close {points(close)} is {side} {points(gap.threshold)}",
        outcome,
    )


def _bar_rows(minute: MinuteExplanation) -> Iterator[tuple[str, ...]]:
    yield (
        "bar",
        iso_minute(minute.bar.ts),
        *_prices(minute.bar),
        f"volume {minute.volume}",
        f"contract {minute.contract or 'unknown'}",
    )
    if minute.previous is not None:
        yield "previous", iso_minute(minute.previous.ts), *_prices(minute.previous)
    session = minute.session
    if session is None:
        yield ("session", "none: the minute lies outside every session, no higher bar holds it")
        return
    hours = f"from {iso_minute(session.open_ns)} to {iso_minute(session.close_ns)}"
    yield "session", f"{session.trade_date}, {hours}, daily bar of {session.daily_bar}"


def _fired_lines(view: TimeframeView) -> Iterator[str]:
    name = f"{view.timeframe:<5}"
    for seen in view.finished:
        carried = seen.carried
        before, after = BIAS_NAMES[carried.bias_before], BIAS_NAMES[carried.bias_after]
        turned = f"{before} -> {after}" if before != after else f"stays {after}"
        yield f"{name}{_finished_words(view, seen)}: {turned}"
        fired = [firing_words(firing, carried.bar.close) for firing in carried.firings]
        yield from (_INDENT + line for line in _aligned(fired or [("no rule fired",)]))
    if view.unfinished is not None:
        yield f"{name}not finished: {_bar_words(view.unfinished)} so far"
    elif not view.finished:
        yield f"{name}no bar is being made"


def _finished_words(view: TimeframeView, seen: FinishedBar) -> str:
    if view.timeframe == TIMEFRAMES[0]:
        return "this bar"
    bar = _bar_words(seen.carried.bar)
    if seen.late:
        return f"finished before this minute, its last one having no bar: {bar}"
    return f"finished on this minute: {bar}"


def _gap_rows(minute: MinuteExplanation) -> Iterator[tuple[str, ...]]:
    for view in minute.timeframes:
        gaps = view.gaps
        name = view.timeframe
        for place, gap in _nearest(gaps):
            yield name, place, *_gap_columns(gap), _removal(gap, view.timeframe)
            name = ""
        if len(gaps.around) > _MOST_HOLDING:
            yield name, "around", f"and {len(gaps.around) - _MOST_HOLDING} wider ones"
        yield name, "alive", f"{gaps.alive} in all"


def _nearest(gaps: NearbyGaps) -> Iterator[tuple[str, Gap]]:
    if gaps.above is not None:
        yield "above", gaps.above
    for gap in gaps.around[:_MOST_HOLDING]:
        yield "around", gap
    if gaps.below is not None:
        yield "below", gaps.below


def _removal(gap: Gap, timeframe: str) -> str:
    """What takes the gap out of its set. Only closes of its own timeframe count."""
    side = "above" if gap.kind.goes_above else "below"
    return f"{BIAS_NAMES[gap.kind.turns]} on a {timeframe} close {side} {points(gap.threshold)}"


def _gap_columns(gap: Gap) -> tuple[str, ...]:
    return (
        gap.kind.value,
        f"{points(gap.bottom)} to {points(gap.top)}",
        f"born {iso_minute(gap.born_ns)}",
    )


def _gap_words(gap: Gap) -> str:
    return " ".join(_gap_columns(gap))


def _prices(bar: Candle | LastMinute | UnfinishedBar) -> tuple[str, ...]:
    return tuple(
        f"{name} {points(getattr(bar, name))}" for name in ("open", "high", "low", "close")
    )


def _bar_words(bar: Candle | UnfinishedBar) -> str:
    return f"bar of {iso_minute(bar.ts)} {' '.join(_prices(bar))}"


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows of columns as lines; a column is as wide as its widest cell that has a neighbour."""
    kept = [tuple(row) for row in rows]
    widths: dict[int, int] = {}
    for row in kept:
        for column, cell in enumerate(row[:-1]):
            widths[column] = max(widths.get(column, 0), len(cell))
    return [
        "  ".join(
            cell if column == len(row) - 1 else cell.ljust(widths[column])
            for column, cell in enumerate(row)
        ).rstrip()
        for row in kept
    ]
