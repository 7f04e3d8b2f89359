"""What the signals say of each date, and of the history they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import dagster as dg
import numpy as np
import pandas as pd

from trisignal_pipeline.judging import Verdict, judge
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, iso_minute
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.market.verified_sessions import calendar_warning
from trisignal_pipeline.orchestration import signal_checks, upstream_check
from trisignal_pipeline.orchestration.assets.session_metadata import session_metadata
from trisignal_pipeline.orchestration.partition_checks import check_per_partition
from trisignal_pipeline.orchestration.partition_report import PartitionReport, share
from trisignal_pipeline.orchestration.signal_checks import StoredSignal
from trisignal_pipeline.orchestration.upstream_check import UpstreamCheck
from trisignal_pipeline.schemas import BIAS_ROW, TRIANGLE_EVENT
from trisignal_pipeline.signal.rules import DIRECTION_NAMES
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.doubts import Doubt, doubts
from trisignal_pipeline.storage.recomputation import Recomputed, recompute
from trisignal_pipeline.storage.selection import SelectedDate, selected_dates
from trisignal_pipeline.storage.signals import SignalRecord, read_bias, read_triangles, signal_dates
from trisignal_pipeline.storage.stored_signal import bias_of_frame, triangles_of_frame
from trisignal_pipeline.storage.upstream_doubts import upstream_doubts

BIAS = "bias_series"
BIAS_CHECK = "bias_row_schema"
TRIANGLES = "triangle_events"
TRIANGLES_CHECK = "triangle_event_schema"
HISTORY_CHECK = "history_is_current"


_NOTHING = {True: "no signal of this date is stored", False: "no finished bars to read"}
"""Why there is nothing to judge, by whether only what was in doubt was computed."""


@dataclass(frozen=True, slots=True)
class Computed:
    """How a run computed its dates.

    only_in_doubt   nothing else was computed, so a date without signals is no surprise
    seconds         what a date took on average
    alone           the run is about one partition, which is shown in a picture
    """

    only_in_doubt: bool
    seconds: float
    alone: bool


def per_partition_checks() -> list[dg.AssetCheckSpec]:
    """The declarations of the checks with a verdict on each date."""
    return [
        check_per_partition(BIAS, BIAS_CHECK, "Six biases on every bar, each one of three words."),
        check_per_partition(BIAS, signal_checks.EVERY_BAR, signal_checks.EVERY_BAR_DESCRIPTION),
        check_per_partition(BIAS, upstream_check.CHECK, upstream_check.DESCRIPTION),
        check_per_partition(BIAS, signal_checks.RECOMPUTED, signal_checks.RECOMPUTED_DESCRIPTION),
        check_per_partition(
            TRIANGLES, TRIANGLES_CHECK, "A triangle's direction is its bar's new 1-minute bias."
        ),
        check_per_partition(
            TRIANGLES, signal_checks.AT_THE_FLIPS, signal_checks.AT_THE_FLIPS_DESCRIPTION
        ),
    ]


class SignalReports:
    """The reports of the two assets that one replay makes, with those of all their checks."""

    def __init__(self) -> None:
        self._every_bar = PartitionReport(BIAS, signal_checks.EVERY_BAR)
        self._upstream = PartitionReport(BIAS, upstream_check.CHECK)
        self._recomputed = PartitionReport(BIAS, signal_checks.RECOMPUTED)
        self._at_the_flips = PartitionReport(TRIANGLES, signal_checks.AT_THE_FLIPS)
        self.bias = PartitionReport(
            BIAS, BIAS_CHECK, beside=(self._every_bar, self._upstream, self._recomputed)
        )
        self.triangles = PartitionReport(TRIANGLES, TRIANGLES_CHECK, beside=(self._at_the_flips,))

    def add(
        self,
        context: dg.AssetExecutionContext,
        connection: Connection,
        market: Market,
        ranges: Sequence[DateRange],
        computed: Computed,
    ) -> None:
        """Judge what is stored of each of `ranges`, in order, and report each of their dates."""
        selected = selected_dates(connection, str(market.symbol))
        for again in recompute(connection, market, selected, ranges):
            self._add(context, connection, market, selected, again, computed)

    def _add(
        self,
        context: dg.AssetExecutionContext,
        connection: Connection,
        market: Market,
        selected: Sequence[SelectedDate],
        again: Recomputed,
        computed: Computed,
    ) -> None:
        symbol, dates = str(market.symbol), again.dates
        records = signal_dates(connection, symbol, dates)
        bias_rows = read_bias(connection, symbol, dates)
        events = read_triangles(connection, symbol, dates)
        of_bias = judge(BIAS_ROW, bias_rows, dates)
        of_events = judge(TRIANGLE_EVENT, events, dates)
        directions = _by_direction(events, dates)
        stored = StoredSignal(
            market,
            dates,
            frozenset(records),
            bias_of_frame(bias_rows),
            triangles_of_frame(events, market.filters),
            again,
        )
        compared = (
            (self._every_bar, stored.every_bar()),
            (self._recomputed, stored.recomputed()),
            (self._at_the_flips, stored.at_the_flips()),
        )
        upstream = UpstreamCheck(
            [one.date for one in selected], upstream_doubts(connection, symbol, dates)
        )
        minutes = expected_minutes(market.session_profile, dates.start, dates.end)
        for position, day in enumerate(dates):
            record = records.get(day)
            if record is None:
                closed = not minutes[position]
                reason = (
                    "the market was closed all day" if closed else _NOTHING[computed.only_in_doubt]
                )
                for report in (self.bias, self.triangles):
                    report.pass_over(symbol, day, reason, expected=closed or computed.only_in_doubt)
                continue
            bias = _with_alarm(context, market, record, of_bias[day])
            expected = int(minutes[position])
            shared = {
                "bars": bias.rows,
                "expected_minutes": expected,
                "coverage": share(bias.rows, expected),
                "seconds": round(computed.seconds, 4),
                **_origin(market, record),
            }
            self.bias.add(
                symbol,
                day,
                bias,
                blocking=not of_bias[day].passed,
                description=_of_bias(market, record, of_bias[day]),
                metadata=shared,
            )
            self.triangles.add(
                symbol,
                day,
                of_events[day],
                blocking=not of_events[day].passed,
                description=_in_words(of_events[day], "triangles"),
                metadata={
                    "triangles": of_events[day].rows,
                    **directions[day],
                    **shared,
                    **(session_metadata(connection, market, record) if computed.alone else {}),
                },
            )
            for report, judged in compared:
                report.add(
                    symbol,
                    day,
                    judged[day].verdict,
                    blocking=not judged[day].verdict.passed,
                    description=judged[day].description,
                    metadata=judged[day].metadata,
                )
            verdict, description = upstream.verdict(day)
            self._upstream.add(
                symbol, day, verdict, blocking=False, description=description, metadata={}
            )

    def record(self, connection: Connection, symbol: str, dagster_run_id: str) -> None:
        """Keep the verdicts of both in the database."""
        self.bias.record(connection, symbol, dagster_run_id)
        self.triangles.record(connection, symbol, dagster_run_id)


def history_check() -> dg.AssetCheckSpec:
    """The declaration of the check on all stored signals of all symbols together."""
    return dg.AssetCheckSpec(
        name=HISTORY_CHECK,
        asset=BIAS,
        description=("No stored signal was computed from bars or rules that have changed since."),
    )


def history_verdict(connection: Connection) -> dg.AssetCheckEvaluation:
    """Whether any stored signal is in doubt, and since which minute."""
    found = doubts(connection)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(BIAS),
        check_name=HISTORY_CHECK,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(map(_doubt_in_words, found)) or "every stored signal is current",
        metadata={"dates_in_doubt": sum(doubt.dates for doubt in found)},
    )


def warn_of_doubt(context: dg.AssetExecutionContext, connection: Connection, symbol: str) -> None:
    """Say in the run's log what of the symbol is in doubt after the run."""
    for doubt in doubts(connection):
        if doubt.symbol == symbol:
            context.log.warning("%s", _doubt_in_words(doubt))


def _doubt_in_words(doubt: Doubt) -> str:
    return (
        f"{doubt.symbol}: {doubt.dates} dates are in doubt from {iso_minute(doubt.from_ns)} on "
        f"({doubt.reasons}); compute them again with: trisignal refresh {doubt.symbol}"
    )


def _with_alarm(
    context: dg.AssetExecutionContext, market: Market, record: SignalRecord, verdict: Verdict
) -> Verdict:
    """`verdict`, failed also where hygiene rules locked the series out for too long."""
    if not _alarming(market, record):
        return verdict
    context.log.warning("%s %s: %s", market.symbol, record.date, _lock_out(record))
    by_check = {**verdict.by_check, f"LOCKED_OUT by {record.longest_by}": record.locked_out}
    return replace(verdict, by_check=by_check)


def _alarming(market: Market, record: SignalRecord) -> bool:
    return record.longest > market.lockout_alarm_minutes


def _lock_out(record: SignalRecord) -> str:
    since = "" if record.longest_since_ns is None else iso_minute(record.longest_since_ns)
    return (
        f"the hygiene rules rejected {record.longest} legacy bars in a row since {since}, the "
        f"first by {record.longest_by}"
    )


def _of_bias(market: Market, record: SignalRecord, verdict: Verdict) -> str:
    if verdict.passed and _alarming(market, record):
        return _lock_out(record)
    return _in_words(verdict, "bias rows")


def _by_direction(events: pd.DataFrame, dates: DateRange) -> Mapping[date, Mapping[str, int]]:
    """How many triangles of each direction every date has."""
    days = (events["ts"].to_numpy() - dates.start_ns) // NS_PER_DAY
    counts = {
        name.lower(): np.bincount(days[events["direction"] == name], minlength=len(dates)).tolist()
        for name in DIRECTION_NAMES
        if name
    }
    return {
        day: {name: of_name[position] for name, of_name in counts.items()}
        for position, day in enumerate(dates)
    }


def _origin(market: Market, record: SignalRecord) -> Mapping[str, str | int | bool]:
    warning = calendar_warning(market, DateRange(record.date, record.date))
    origin: dict[str, str | int | bool] = {
        "source_table": record.source_table,
        "bars_locked_out": record.locked_out,
        "calendar_verified": warning is None,
    }
    if warning is not None:
        origin["warning"] = warning
    return origin


def _in_words(verdict: Verdict, what: str) -> str:
    if verdict.passed:
        return f"all {verdict.rows} {what} are what they must be"
    return f"{verdict.failed} of {verdict.rows} stored {what} are broken"
