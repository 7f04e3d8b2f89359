"""The stored biases as bars of a chart show them.

A stored row has the biases seen on a minute. A bar of a higher timeframe shows what is seen once it
is finished: of its own timeframe and of one whose period ends with it, the bias of the bar just
finished; of one whose period goes on, what the bar's last minute saw.
"""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.market.bars import Bools
from trisignal_pipeline.market.dates import DateRange, by_year, date_of_ns
from trisignal_pipeline.query.bars import StoredMinutes, fold_minutes, period_ends
from trisignal_pipeline.schemas import BIAS_COLUMNS
from trisignal_pipeline.signal.bias import Int8s
from trisignal_pipeline.signal.rules import BEARISH, BULLISH, NEUTRAL, TIMEFRAMES
from trisignal_pipeline.signal.timeframes import HigherBars
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.signals import read_bias

NOT_STORED = 2
"""Stands beside the codes of `rules` for a minute that has no stored bias."""


def stored_bias(connection: Connection, symbol: str, minutes: StoredMinutes) -> Int8s:
    """The stored biases of `minutes`: int8 [n, 6], codes of `rules` or `NOT_STORED`."""
    ts = minutes.bars.ts
    codes = np.full((len(ts), len(TIMEFRAMES)), NOT_STORED, np.int8)
    if not len(ts):
        return codes
    for year in by_year(DateRange(date_of_ns(int(ts[0])), date_of_ns(int(ts[-1])))):
        frame = read_bias(connection, symbol, year)
        _, rows, stored = np.intersect1d(
            ts, frame["ts"].to_numpy(np.int64), assume_unique=True, return_indices=True
        )
        for place, name in enumerate(BIAS_COLUMNS):
            words = frame[name].to_numpy(object)[stored]
            codes[rows, place] = np.select(
                [words == "Bullish", words == "Bearish"], [BULLISH, BEARISH], NEUTRAL
            )
    return codes


def bias_on_bars(
    codes: Int8s, minutes: StoredMinutes, bars: HigherBars, of: str, timeframe: str
) -> tuple[Int8s, Bools]:
    """The bias of `timeframe` that each of `bars` shows, and whether a stored row holds it.

    Args:
        codes: int8 [n, 6], from `stored_bias`.
        minutes: those the bars are made of, and enough after them to finish the last one.
        bars: of the timeframe `of`, which is not above `timeframe`.

    No row holds it where one minute finishes two bars of `timeframe`, so that the first one's bias
    is never seen, and where no later minute is stored.
    """
    column = codes[:, TIMEFRAMES.index(timeframe)]
    if of == TIMEFRAMES[0]:
        return column[bars.finished_on], np.ones(len(bars), np.bool_)
    ends = period_ends(bars.ts, of, minutes.sessions)
    over = fold_minutes(minutes, timeframe)
    around = np.searchsorted(over.ts, bars.ts, side="right") - 1
    finishes = period_ends(over.ts, timeframe, minutes.sessions)[around] == ends
    last_minute = np.searchsorted(minutes.bars.ts, ends) - 1
    row = np.where(finishes, over.finished_on[around], last_minute)
    next_finish = np.append(over.finished_on[1:], -1)[around]
    held = ~finishes | ((row >= 0) & (next_finish != row))
    return column[row], held
