"""What one new day of a long history costs, and a correction in the midst of it.

Fifteen years of clean bars of one symbol, with gaps that are never filled adding up as they do over
the years of a real future. What is timed is the work of the signal, from the look at what there is
to the committed rows, and that of its checks; Dagster's bookkeeping is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from dagster import build_asset_context

from trisignal_pipeline.market.bars import Bars, Int64s
from trisignal_pipeline.market.dates import DateRange, by_year
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.orchestration.assets.signal_reports import SignalReports
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.audit import ingest_run
from trisignal_pipeline.storage.bars import CLEAN
from trisignal_pipeline.storage.connection import Database, scalar
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.ingest import write_range
from trisignal_pipeline.storage.locks import symbol_lock
from trisignal_pipeline.storage.recomputation import recompute
from trisignal_pipeline.storage.selection import selected_dates
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline_tests.benchmarks.bars_speed import SYMBOL, own_database
from trisignal_pipeline_tests.benchmarks.measurement import Measured, best_of
from trisignal_pipeline_tests.benchmarks.signal_speed import DRIFT
from trisignal_pipeline_tests.signal.generated_bars import session_minutes, walk

HISTORY = DateRange(date(2010, 6, 7), date(2025, 6, 5))
NEW_DAYS = [HISTORY.end + timedelta(days=n) for n in (1, 4, 5, 6)]
A_YEAR_BACK = date(2024, 6, 5)
SECONDS = 0.5
A_WHOLE_YEAR = DateRange(date(2023, 1, 1), date(2023, 12, 31))
SECONDS_A_YEAR = 1.5
BATCH_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Computed:
    """What a computation took and did."""

    seconds: float
    replayed: int
    written: int
    vouched_for: int


def computed(database: Database, dates: Iterable[date], *, only_in_doubt: bool = False) -> Computed:
    """Compute the signals of `dates`."""
    with database.connect("benchmark", autocommit=True) as connection:
        began = time.perf_counter()
        market = registry.market(connection, SYMBOL)
        parts = list(compute_signals(connection, market, dates, only_in_doubt=only_in_doubt))
        seconds = time.perf_counter() - began
    return Computed(
        seconds,
        sum(part.replayed for part in parts),
        sum(part.written for part in parts),
        sum(part.vouched_for for part in parts),
    )


def checked(database: Database, dates: DateRange) -> float:
    """Seconds to judge the signals of `dates`, a year at a time, as the asset does."""
    with database.connect("benchmark", autocommit=True) as connection:
        market = registry.market(connection, SYMBOL)
        reports, context = SignalReports(), build_asset_context()
        began = time.perf_counter()
        reports.add(context, connection, market, by_year(dates), refreshed=False)
        seconds = time.perf_counter() - began
    for report in (reports.bias, *reports.bias.beside, *reports.triangles.beside):
        assert all(judged.verdict.passed for judged in report.verdicts.values()), report.check
    return seconds


def recomputed(database: Database, dates: DateRange) -> float:
    """Seconds to make the signals of `dates` once more, from a saved state."""
    with database.connect("benchmark", autocommit=True) as connection:
        market = registry.market(connection, SYMBOL)
        began = time.perf_counter()
        known = selected_dates(connection, SYMBOL)
        [again] = recompute(connection, market, known, [dates])
        assert len(again.bars)
        return time.perf_counter() - began


def stored(database: Database, bars: Bars, dates: DateRange) -> None:
    """Make the clean bars of `dates` those of `bars`."""
    with (
        symbol_lock(database, SYMBOL) as held,
        ingest_run(
            database,
            asset="clean_bars",
            symbol=SYMBOL,
            dates=dates,
            source="legacy",
            dataset="GLBX.MDP3",
        ) as run,
    ):
        write_range(
            held,
            run,
            CLEAN,
            dates,
            Screened(bars.between(dates.start_ns, dates.end_ns), Bars.empty(), {}),
            source="legacy",
            batch_rows=BATCH_ROWS,
        )


def corrected(bars: Bars, column: str, values: Int64s) -> Bars:
    """The bars with one column of the minute at noon a year back changed."""
    row = int(np.searchsorted(bars.ts, DateRange(A_YEAR_BACK, A_YEAR_BACK).start_ns)) + 720
    changed = getattr(bars, column).copy()
    changed[row] = values[row]
    return Bars(**{name: getattr(bars, name) for name in Bars.__slots__} | {column: changed})


def measure() -> list[Measured]:
    """New days, nothing saved, and corrections with a trace and without."""
    around = sessions("cme_equity", HISTORY.start, NEW_DAYS[-1])
    bars = walk(session_minutes(around, 0.97), seed=1, drift=DRIFT)
    with own_database() as database:
        for dates in by_year(HISTORY):
            stored(database, bars, dates)
        everything = computed(database, HISTORY)
        with database.connect("benchmark", autocommit=True) as connection:
            # What autovacuum does within the minute, and would do in the midst of a figure.
            connection.execute("VACUUM ANALYZE")
        days, looks = [], []
        for day in NEW_DAYS:
            stored(database, bars, DateRange(day, day))
            days.append(computed(database, [day]))
            looks.append(checked(database, DateRange(day, day)))
        year = checked(database, A_WHOLE_YEAR)
        again = best_of(3, lambda: recomputed(database, A_WHOLE_YEAR))
        with database.connect("benchmark", autocommit=True) as connection:
            size, states = connection.execute(
                "SELECT max(octet_length(state)), count(*) FROM signal_checkpoints"
            ).fetchall()[0]
            looking = best_of(3, lambda: doubts(connection))

        a_year_back = DateRange(A_YEAR_BACK, A_YEAR_BACK)
        later = DateRange(A_YEAR_BACK, NEW_DAYS[-1])
        stored(database, corrected(bars, "open", bars.close), a_year_back)
        without_trace = computed(database, later, only_in_doubt=True)
        highest = np.full(len(bars), bars.high.max() + 1)
        stored(database, corrected(bars, "high", highest), a_year_back)
        with_trace = computed(database, later, only_in_doubt=True)

        with database.connect("benchmark", autocommit=True) as connection:
            connection.execute("DELETE FROM signal_checkpoints")
            assert not scalar(connection, "SELECT count(*) FROM signal_checkpoints")
        from_nothing = computed(database, [NEW_DAYS[-1]])

    slowest = max(days, key=lambda day: day.seconds)
    with_checks = max(day.seconds + look for day, look in zip(days, looks, strict=True))
    return [
        Measured("bars stored", everything.replayed, "bars"),
        Measured("one new day, the slowest of four", slowest.seconds, "s", at_most=SECONDS),
        Measured("  with its checks, the slowest of four", with_checks, "s", at_most=SECONDS),
        Measured(
            "  bars read that are not the day's",
            max(day.replayed - day.written for day in days),
            "bars",
            at_most=0,
        ),
        Measured("  largest saved state", size / 1000, "kB"),
        Measured("  saved states kept", states, ""),
        Measured("the checks of one year", year, "s"),
        Measured("  the recomputation among them", again, "s", at_most=SECONDS_A_YEAR),
        Measured("looking for what is in doubt", looking * 1000, "ms"),
        Measured("a bar corrected a year back, no trace left", without_trace.seconds, "s"),
        Measured("  bars replayed", without_trace.replayed, "bars"),
        Measured("  later dates that hold as they are", without_trace.vouched_for, "dates"),
        Measured("the same with a trace: the year is computed again", with_trace.seconds, "s"),
        Measured("  bars replayed and written", with_trace.replayed, "bars"),
        Measured("a day with no state saved: everything is replayed", from_nothing.seconds, "s"),
        Measured("  reading included", from_nothing.replayed / from_nothing.seconds, "bars/s"),
        Measured("all signals, written", everything.seconds, "s"),
        Measured("  everything included", everything.written / everything.seconds, "bars/s"),
    ]
