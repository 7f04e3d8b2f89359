"""How complete each date of clean bars is: judged, kept, and said with the date's partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from trisignal_pipeline.judging import MOST_FAILURE_CASES, Verdict
from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.gaps import GapKind, completeness
from trisignal_pipeline.market.sessions import VERIFIED_SPAN, sessions
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.market.verified_sessions import hours_are_checked
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.partition_report import PartitionReport
from trisignal_pipeline.storage.completeness import (
    RareGap,
    rare_gaps,
    record_completeness,
    rejected_minutes,
)
from trisignal_pipeline.storage.locks import HeldSymbol

CHECK = "session_completeness"
DESCRIPTION = (
    "No bar is missing without a lull or a halt that explains it, and none lies outside of a "
    "session. A gap is a lull if chance brings it at least once in a thousand sessions, given how "
    "many of the minutes around it traded; it is a halt if the other markets were silent as well."
)


def judge_completeness(
    held: HeldSymbol,
    market: Market,
    dates: DateRange,
    bars: Bars,
    off_tick: Int64s | None,
    report: PartitionReport,
) -> dict[date, MetadataOfOne]:
    """Keep how complete `dates` are, and put the verdict on each into `report`.

    Args:
        held: the symbol, whose clean bars of `dates` have just been written.
        market: whose sessions they should fill.
        dates: the UTC dates.
        bars: what is stored of them, in order of time.
        off_tick: how many bars of each date are off the tick; None where none is known.
        report: of the check of this name.

    Returns:
        What there is to say with each partition.
    """
    around = sessions(market.session_profile, dates.start, dates.end + timedelta(days=1))
    rejected = held.repeat(rejected_minutes, held.symbol, dates)
    found = completeness(bars.ts, rejected, around, dates)
    held.repeat(record_completeness, held.symbol, found, off_tick)
    rare: dict[date, list[RareGap]] = {day: [] for day in dates}
    for gap in held.repeat(rare_gaps, held.symbol, dates):
        rare[gap.ts.astimezone(UTC).date()].append(gap)
    lulls = found.minutes_in(~found.gaps.rare & ~found.gaps.rejected)
    without = found.minutes_in(found.gaps.rejected)
    longest = found.longest()
    said: dict[date, MetadataOfOne] = {}
    for position, day in enumerate(dates):
        one = _Date(
            day,
            int(found.expected[position]),
            int(found.found[position]),
            int(without[position]),
            int(found.outside[position]),
            rare[day],
        )
        report.add(
            held.symbol,
            day,
            _verdict(market, one),
            blocking=False,
            description=_in_words(market, one),
            metadata={},
        )
        said[day] = {
            "found_minutes": one.found,
            "no_trade_minutes": int(lulls[position]),
            "rejected_minutes": one.rejected,
            "halt_minutes": one.minutes(GapKind.HALT),
            "suspicious_minutes": one.minutes(GapKind.SUSPICIOUS),
            "longest_gap": int(longest[position]),
            "bars_outside_of_sessions": one.outside,
        }
    return said


@dataclass(frozen=True, slots=True)
class _Date:
    """What was found of one date, in minutes, and the gaps that chance doesn't explain."""

    day: date
    expected: int
    found: int
    rejected: int
    outside: int
    rare: Sequence[RareGap]

    @property
    def empty(self) -> bool:
        """Whether nothing at all was delivered of a trading day."""
        return bool(self.expected) and not self.found and not self.rejected

    def of(self, kind: GapKind) -> list[RareGap]:
        return [gap for gap in self.rare if gap.kind is kind]

    def minutes(self, kind: GapKind) -> int:
        return sum(gap.minutes for gap in self.of(kind))


def _verdict(market: Market, one: _Date) -> Verdict:
    suspicious, outside = one.of(GapKind.SUSPICIOUS), one.outside
    if not hours_are_checked(market):
        # Another open or close than the calendar's looks like bars missing, or too many, there.
        suspicious, outside = [gap for gap in suspicious if not gap.at_edge], 0
    if one.empty:
        return Verdict(one.expected, one.expected, {"EMPTY_ON_A_TRADING_DAY": one.expected})
    missing = sum(gap.minutes for gap in suspicious)
    found = {"SUSPICIOUS_GAP": missing, "OUTSIDE_OF_SESSIONS": outside}
    return Verdict(
        one.expected,
        missing + outside,
        {name: count for name, count in found.items() if count},
        tuple(
            {"ts": _shown(gap), "minutes": str(gap.minutes), "why": gap.why}
            for gap in suspicious[:MOST_FAILURE_CASES]
        ),
    )


def _in_words(market: Market, one: _Date) -> str:
    if one.empty:
        said = [f"no bars, though the market was open for {one.expected} minutes"]
    elif not one.expected:
        said = ["the market was closed all day"]
    else:
        said = [f"{one.found} of {one.expected} minutes on which the market was open have a bar"]
    for kind, words in (
        (GapKind.SUSPICIOUS, "minutes are missing without a lull that explains it"),
        (GapKind.HALT, "minutes lie in halts"),
    ):
        gaps = one.of(kind)
        if gaps and not one.empty:
            said.append(f"{one.minutes(kind)} {words}, the first {_shown(gaps[0])}")
    if one.rejected:
        said.append(f"{one.rejected} minutes have rejected bars only")
    if one.outside:
        said.append(f"{one.outside} bars lie outside of the sessions")
    if not hours_are_checked(market):
        said.append(
            "judged by the hours of CME's equity index futures, which were not checked for this "
            "market: what is missing or too much at their edges is no alarm"
        )
    elif one.day not in VERIFIED_SPAN:
        said.append("judged by the calendar library's rules, not by verified hours")
    return "; ".join(said)


def _shown(gap: RareGap) -> str:
    return gap.ts.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
