"""Computing the signals of dates: replayed from the nearest saved state, and kept part by part.

The caller holds the symbol's lock.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.daily_summaries import keep_daily_summaries
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline.storage.replay import replay
from trisignal_pipeline.storage.selection import SelectedDate, selected_dates
from trisignal_pipeline.storage.signal_keeping import keep


@dataclass(frozen=True, slots=True)
class ComputedPart:
    """A stretch of dates that was replayed.

    replayed      bars read, those before the dates that were asked for included
    written       bars whose signal was written
    vouched_for   later dates whose stored signal was found to hold
    """

    window: DateRange
    replayed: int
    written: int
    vouched_for: int


def compute_signals(
    connection: Connection,
    market: Market,
    asked_for: Iterable[date],
    *,
    only_in_doubt: bool = False,
    on_span: Callable[[DateRange], None] = lambda _span: None,
) -> Iterator[ComputedPart]:
    """Make the stored signals of the dates `asked_for` what one pass over the history gives.

    At the end what is kept of the symbol's daily summaries is brought up to date.

    Args:
        connection: in autocommit; each part is a transaction of its own.
        market: its row of the registry, as it is now.
        asked_for: UTC dates. Those without bars are left without signals.
        only_in_doubt: leave out dates whose stored signal holds, or that have none; and go no
            further once the rest is found to hold.
        on_span: hears of each stretch of dates before it is begun.
    """
    symbol = str(market.symbol)
    dates = selected_dates(connection, symbol)
    wanted = set(asked_for)
    if only_in_doubt:
        wanted &= set(dates_in_doubt(connection, symbol))
    spans = spans_of(wanted, dates)
    while spans:
        span = spans.pop(0)
        on_span(span)
        for part in replay(connection, market, dates, span):
            kept = keep(connection, part, span, dates)
            yield ComputedPart(part.window, len(part.bars), kept.bars, kept.vouched_for)
            if only_in_doubt and kept.vouched_for:
                still = wanted.intersection(dates_in_doubt(connection, symbol))
                spans = spans_of((day for day in still if day > part.window.end), dates)
                break
    keep_daily_summaries(connection, symbol)


def spans_of(wanted: Iterable[date], dates: Sequence[SelectedDate]) -> list[DateRange]:
    """The fewest ranges that hold all of `wanted` and no other date that has bars.

    One replay serves a range: a weekend must not cut it in two.
    """
    days = sorted(wanted)
    others = sorted({selected.date for selected in dates}.difference(days))
    spans: list[DateRange] = []
    for day in days:
        if spans and bisect(others, spans[-1].end) == bisect(others, day):
            spans[-1] = DateRange(spans[-1].start, day)
        else:
            spans.append(DateRange(day, day))
    return spans
