"""Gaps of a date: held against a walk minute by minute, and against days of real bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import NS_PER_MINUTE, DateRange, date_of_ns, iso_minute
from trisignal_pipeline.market.gaps import Completeness, GapKind, completeness
from trisignal_pipeline.market.lead_contract import lead_contracts
from trisignal_pipeline.market.sessions import Sessions, expected_minutes, sessions
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect, read_bars

MONDAY, TUESDAY = date(2024, 6, 17), date(2024, 6, 18)
NONE = np.empty(0, np.int64)

# A half-day, a holiday's halt, a weekend, and a week of the years with a pause.
SPANS = [
    DateRange(date(2024, 11, 27), date(2024, 11, 30)),
    DateRange(date(2024, 6, 18), date(2024, 6, 20)),
    DateRange(date(2024, 6, 22), date(2024, 6, 23)),
    DateRange(date(2018, 3, 11), date(2018, 3, 12)),
    DateRange(date(2021, 6, 24), date(2021, 6, 28)),
]


def around(dates: DateRange) -> Sessions:
    return sessions("cme_equity", dates.start, dates.end + timedelta(days=1))


def open_minutes(dates: DateRange) -> list[int]:
    """Every minute of `dates` on which the market is open, one by one."""
    of = around(dates)
    spans = [
        *zip(of.open_ns.tolist(), of.pause_start_ns.tolist(), strict=True),
        *zip(of.pause_end_ns.tolist(), of.close_ns.tolist(), strict=True),
    ]
    return [
        minute
        for minute in range(dates.start_ns, dates.end_ns, NS_PER_MINUTE)
        if any(start <= minute < end for start, end in spans)
    ]


def stretches(dates: DateRange) -> list[list[int]]:
    """Open minutes that follow each other on one UTC date."""
    found: list[list[int]] = []
    for minute in open_minutes(dates):
        follows = found and found[-1][-1] + NS_PER_MINUTE == minute
        if follows and date_of_ns(found[-1][-1]) == date_of_ns(minute):
            found[-1].append(minute)
        else:
            found.append([minute])
    return found


def walked(ts: Sequence[int], rejected: Sequence[int], dates: DateRange) -> list[tuple[int, ...]]:
    """Start, minutes, kind, looked at and traded of every gap, minute by minute."""
    found, refused = set(ts), set(rejected)

    def state(minute: int) -> str:
        return "found" if minute in found else "rejected" if minute in refused else "absent"

    gaps = []
    for stretch in stretches(dates):
        first = 0
        while first < len(stretch):
            past = first
            while past < len(stretch) and state(stretch[past]) == state(stretch[first]):
                past += 1
            if state(stretch[first]) != "found":
                near = stretch[max(0, first - 60) : first] + stretch[past : past + 60]
                traded = sum(state(minute) != "absent" for minute in near)
                share = (traded + 1) / (len(near) + 2)
                often = 1380 * share * (1 - share) ** (past - first) >= 1 / 1000
                kind = GapKind.NO_TRADE if often else GapKind.SUSPICIOUS
                if state(stretch[first]) == "rejected":
                    kind = GapKind.REJECTED
                gaps.append((stretch[first], past - first, kind, len(near), traded))
            first = past
    return gaps


def listed(found: Completeness) -> list[tuple[int, ...]]:
    gaps = found.gaps
    columns = (gaps.start_ns, gaps.minutes, gaps.kinds(), gaps.around, gaps.traded)
    return list(zip(*(c if isinstance(c, list) else c.tolist() for c in columns), strict=True))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(SPANS),
    st.floats(0.02, 1),
    st.lists(st.tuples(st.integers(0, 5 * 1440), st.integers(1, 200)), max_size=4),
    st.integers(0, 2**32),
)
def test_gaps_are_those_of_a_walk_minute_by_minute(
    dates: DateRange, share: float, holes: list[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    minutes = np.arange(dates.start_ns, dates.end_ns, NS_PER_MINUTE)
    there = rng.random(len(minutes)) < share
    for first, length in holes:
        there[first : first + length] = False
    ts, rejected = minutes[there], minutes[rng.random(len(minutes)) < 0.02]

    found = completeness(ts, rejected, around(dates), dates)

    assert listed(found) == walked(ts.tolist(), rejected.tolist(), dates)
    is_open = set(open_minutes(dates))
    for position, day in enumerate(dates):
        of_day = [minute for minute in ts.tolist() if date_of_ns(minute) == day]
        assert found.found[position] == sum(minute in is_open for minute in of_day)
        assert found.outside[position] == sum(minute not in is_open for minute in of_day)
    assert (
        found.expected.tolist() == expected_minutes("cme_equity", dates.start, dates.end).tolist()
    )
    assert found.gaps.minutes.sum() == (found.expected - found.found).sum()


def kinds_of(ts: Int64s, dates: DateRange, rejected: Int64s = NONE) -> list[tuple[str, int, str]]:
    gaps = completeness(ts, rejected, around(dates), dates).gaps
    return [
        (iso_minute(start), minutes, kind.value)
        for start, minutes, kind in zip(
            gaps.start_ns.tolist(), gaps.minutes.tolist(), gaps.kinds(), strict=True
        )
    ]


def without(day: date, first: str, minutes: int) -> Int64s:
    """A day on which every minute trades, but for some."""
    ts = np.array(open_minutes(DateRange(day, day)), np.int64)
    start = int(np.datetime64(f"{day}T{first}", "ns").astype(np.int64))
    return ts[(ts < start) | (ts >= start + minutes * NS_PER_MINUTE)]


@pytest.mark.parametrize(
    ("first", "minutes", "kind"),
    [
        ("03:00", 1, "no_trade"),
        ("03:00", 2, "no_trade"),
        ("03:00", 3, "suspicious"),
        ("15:00", 300, "suspicious"),
        ("20:00", 60, "suspicious"),
        ("22:00", 5, "suspicious"),
        ("22:00", 1, "no_trade"),
    ],
)
def test_where_every_minute_trades_few_may_be_missing(first: str, minutes: int, kind: str) -> None:
    gaps = kinds_of(without(MONDAY, first, minutes), DateRange(MONDAY, MONDAY))

    assert gaps == [(f"{MONDAY}T{first}:00Z", minutes, kind)]


def test_where_one_minute_in_five_trades_four_in_a_row_are_a_lull() -> None:
    ts = np.array(open_minutes(DateRange(MONDAY, MONDAY)), np.int64)[::5]

    assert {kind for _, _, kind in kinds_of(ts, DateRange(MONDAY, MONDAY))} == {"no_trade"}


def test_an_hour_is_missing_where_one_minute_in_five_trades() -> None:
    ts = without(MONDAY, "12:00", 60)
    ts = ts[ts // NS_PER_MINUTE % 5 == 0]

    rare = [gap for gap in kinds_of(ts, DateRange(MONDAY, MONDAY)) if gap[2] == "suspicious"]

    assert rare == [(f"{MONDAY}T11:56:00Z", 64, "suspicious")]


def test_a_rejected_bar_is_no_lull_and_speaks_for_trade_around_it() -> None:
    ts = without(MONDAY, "12:00", 10)
    rejected = np.setdiff1d(np.array(open_minutes(DateRange(MONDAY, MONDAY)), np.int64), ts)

    assert kinds_of(ts, DateRange(MONDAY, MONDAY), rejected[::-1]) == [
        (f"{MONDAY}T12:00:00Z", 10, "rejected")
    ]
    assert kinds_of(ts, DateRange(MONDAY, MONDAY), rejected[:5]) == [
        (f"{MONDAY}T12:00:00Z", 5, "rejected"),
        (f"{MONDAY}T12:05:00Z", 5, "suspicious"),
    ]


def test_a_bar_and_a_rejected_one_of_the_same_minute_leave_no_gap() -> None:
    ts = without(MONDAY, "12:00", 0)

    assert kinds_of(ts, DateRange(MONDAY, MONDAY), ts[:3]) == []


def test_a_trading_day_without_a_bar_is_suspicious_from_end_to_end() -> None:
    assert kinds_of(NONE, DateRange(MONDAY, MONDAY)) == [
        (f"{MONDAY}T00:00:00Z", 21 * 60, "suspicious"),
        (f"{MONDAY}T22:00:00Z", 2 * 60, "suspicious"),
    ]


def test_a_closed_day_has_no_gaps() -> None:
    saturday = date(2024, 6, 22)

    assert kinds_of(NONE, DateRange(saturday, saturday)) == []


def test_a_gap_at_the_open_or_close_is_told_from_one_inside_and_from_midnight() -> None:
    dates = DateRange(MONDAY, MONDAY)
    ts = np.array(open_minutes(dates), np.int64)
    missing = np.isin(ts, ts[[0, 100, 21 * 60 - 1, 21 * 60, -1]])

    gaps = completeness(ts[~missing], NONE, around(dates), dates).gaps

    assert gaps.at_edge.tolist() == [False, False, True, True, False]


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(SPANS), st.floats(0.1, 1), st.integers(0, 2**32))
def test_what_is_said_of_a_date_depends_on_that_date_alone(
    dates: DateRange, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    minutes = np.arange(dates.start_ns, dates.end_ns, NS_PER_MINUTE)
    ts = minutes[rng.random(len(minutes)) < share]

    apart = []
    for day in dates:
        of_day = DateRange(day, day)
        own = ts[(ts >= of_day.start_ns) & (ts < of_day.end_ns)]
        apart += listed(completeness(own, NONE, around(of_day), of_day))

    assert apart == listed(completeness(ts, NONE, around(dates), dates))


def test_three_months_of_real_nq_have_nothing_suspicious(shared_data: Path) -> None:
    found = _real(shared_data / "nq_fut", "NQ")

    assert int(found.expected.sum()) == 86_820
    assert found.outside.sum() == 0
    assert Counter(found.gaps.minutes.tolist()) == {1: 4}
    assert not found.gaps.rare.any()


def test_a_month_of_real_and_quiet_mgc_has_nothing_suspicious(shared_data: Path) -> None:
    found = _real(shared_data / "mgc_fut", "MGC")

    assert len(found.gaps) > 200
    assert found.gaps.minutes.max() == 27
    assert not found.gaps.rare.any()
    # On Thanksgiving and the day after, metals trade on after the index futures' halt.
    assert found.outside.sum() == 172


def _real(folder: Path, root: str) -> Completeness:
    inspected = [inspect(path) for path in sorted(folder.glob("*.dbn.zst"))]
    files = [file for file in inspected if isinstance(file, DbnFile)]
    leads = lead_contracts([day for file in files for day in file.days if day.root == root], "v")
    dates = DateRange(min(leads), max(leads))
    parts = [
        part for file in files for part in read_bars(file, leads, dates.start_ns, dates.end_ns)
    ]
    ts = np.sort(np.concatenate([part.ts for part in parts]))
    return completeness(ts, NONE, around(dates), dates)
