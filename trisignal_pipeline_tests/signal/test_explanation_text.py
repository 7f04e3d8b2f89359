"""An explained minute in words: what a trader reads, line by line."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import TriangleFilters
from trisignal_pipeline.signal.explain import MinuteExplanation, explain
from trisignal_pipeline.signal.explanation_text import (
    alignment_words,
    decision,
    engulfing_words,
    filter_words,
    minute_lines,
    points,
)
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline_tests.signal.generated_bars import bars_of
from trisignal_pipeline_tests.signal.plain_signal import MINUTE

OPEN = int(sessions("cme_equity", date(2024, 11, 25), date(2024, 11, 25)).open_ns[0])
NONE = TriangleFilters()

OHLC = tuple[float, float, float, float]

# A bullish gap from 100 to 102 is born on the third minute and inverted on the fifth, the last one
# of its five; a minute later the inverse gap is invalidated.
MINUTES: tuple[OHLC, ...] = (
    (98, 100, 50, 99),
    (99, 150, 99, 104),
    (104, 110, 102, 108),
    (108, 108, 98, 104),
    (104, 104.25, 95, 96.5),
    (96.25, 107, 96, 104.5),
)


def explained(count: int, filters: TriangleFilters = NONE) -> MinuteExplanation:
    """The last of the first `count` of `MINUTES`."""
    bars = bars_of(
        [
            (OPEN + row * MINUTE, *(int(price * PRICE_UNIT) for price in prices))
            for row, prices in enumerate(MINUTES[:count])
        ]
    )
    before, _ = advance(start(), bars.take(slice(0, count - 1)))
    return explain(before, bars.take(slice(count - 1, count)), filters)


def test_a_minute_reads_from_its_bar_to_the_decision() -> None:
    assert minute_lines(explained(5)) == [
        (
            "bar       2024-11-24T23:04:00Z  open 104.00  high 104.25  low 95.00  close 96.50"
            "  volume 1  contract NQZ4"
        ),
        "previous  2024-11-24T23:03:00Z  open 108.00  high 108.00  low 98.00  close 104.00",
        (
            "session   2024-11-25, from 2024-11-24T23:00:00Z to 2024-11-25T22:00:00Z, "
            "daily bar of 2024-11-25"
        ),
        "",
        "bias    1m       5m       15m      1h       4h       1d",
        "before  Bullish  Neutral  Neutral  Neutral  Neutral  Neutral",
        "after   Bearish  Neutral  Neutral  Neutral  Neutral  Neutral",
        "",
        "rules that fired",
        "    1m   this bar: Bullish -> Bearish",
        (
            "        inversion  bullish gap 100.00 to 102.00 born 2024-11-24T23:02:00Z  "
            "close 96.50 is below its bottom 100.00  -> Bearish"
        ),
        (
            "    5m   finished on this minute: bar of 2024-11-24T23:00:00Z open 98.00 high 150.00 "
            "low 50.00 close 96.50: stays Neutral"
        ),
        "        no rule fired",
        *(
            f"    {timeframe:<5}not finished: bar of 2024-11-24T23:00:00Z open 98.00 high 150.00 "
            "low 50.00 close 96.50 so far"
            for timeframe in ("15m", "1h", "4h", "1d")
        ),
        "",
        "live gaps nearest to the close of 96.50",
        (
            "    1m   above  bearish inverse gap  100.00 to 102.00  born 2024-11-24T23:02:00Z  "
            "Bullish on a 1m close above 102.00"
        ),
        "         alive  1 in all",
        *(f"    {timeframe:<5}alive  0 in all" for timeframe in ("5m", "15m", "1h", "4h", "1d")),
        "",
        "engulfing  the bar does not engulf the one before",
        "alignment  5m 15m 1h 4h 1d: neither all Bullish nor all Bearish",
        (
            "filters    htf_aligned_only off (not passed), require_engulfing off (not passed), "
            "require_sweep_engulfing off (not passed)"
        ),
        (
            "decision   BEAR triangle: the 1-minute bias became Bearish and was Bullish on the bar "
            "before"
        ),
    ]


class TestDecision:
    def test_the_first_bar_compares_with_nothing(self) -> None:
        assert decision(explained(1)).startswith("no triangle: this is the first bar")

    def test_a_bias_that_stays_is_no_triangle(self) -> None:
        assert decision(explained(4)) == "no triangle: the 1-minute bias was Bullish and stays so"

    def test_filters_that_stopped_a_flip_are_named(self) -> None:
        filters = TriangleFilters(require_engulfing=True, htf_aligned_only=True)
        assert decision(explained(5, filters)).endswith(
            "but htf_aligned_only and require_engulfing did not let it pass"
        )

    def test_a_triangle_says_what_turned(self) -> None:
        assert decision(explained(6)) == (
            "BULL triangle: the 1-minute bias became Bullish and was Bearish on the bar before"
        )


class TestWords:
    def test_an_inverse_gap_that_is_invalidated(self) -> None:
        lines = minute_lines(explained(6))
        assert (
            "        invalidation  bearish inverse gap 100.00 to 102.00 born 2024-11-24T23:02:00Z  "
            "close 104.50 is above its top 102.00  -> Bullish"
        ) in lines

    def test_a_gap_that_opens(self) -> None:
        assert (
            "        new gap  bullish gap 100.00 to 102.00 born 2024-11-24T23:02:00Z  "
            "opened by this bar"
        ) in minute_lines(explained(3))

    def test_how_a_bar_engulfs(self) -> None:
        assert engulfing_words(explained(5)) == "the bar does not engulf the one before"
        assert engulfing_words(explained(6)) == "bullish, but does not sweep it"

    def test_which_timeframes_agree(self) -> None:
        none_on = explained(5, TriangleFilters(aligned_timeframes=()))
        assert alignment_words(none_on).startswith("no timeframe is switched on")
        only_5m = TriangleFilters(aligned_timeframes=("5m",))
        assert alignment_words(explained(6, only_5m)) == "5m: neither all Bullish nor all Bearish"

    def test_filters_are_on_or_off(self) -> None:
        filters = TriangleFilters(require_engulfing=True)
        assert filter_words(explained(6, filters)) == (
            "htf_aligned_only off (not passed), require_engulfing on (passed), "
            "require_sweep_engulfing off (not passed)"
        )
        assert "passed" not in filter_words(explained(4))


class TestPoints:
    @pytest.mark.parametrize(
        ("price", "text"),
        [
            (0, "0.00"),
            (20_123_250_000_000, "20123.25"),
            (20_123_500_000_000, "20123.50"),
            (20_000_000_000_000, "20000.00"),
            (-500_000_000, "-0.50"),
            (1, "0.000000001"),
            (6_550_000, "0.00655"),
        ],
    )
    def test_prices_have_two_decimals_or_as_many_as_they_need(self, price: int, text: str) -> None:
        assert points(price) == text

    @given(st.integers(-(2**63) + 1, 2**63 - 1))
    def test_no_digit_is_lost(self, price: int) -> None:
        whole, _, decimals = points(price).lstrip("-").partition(".")
        assert int(whole + decimals.ljust(9, "0")) == abs(price)
