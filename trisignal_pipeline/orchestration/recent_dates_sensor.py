"""The last days are kept whole: what of them is missing, unfinished or failed is made again."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange, by_year, contiguous_ranges, utc
from trisignal_pipeline.market.sessions import expected_minutes
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.assets.raw_dbn_files import RawSource
from trisignal_pipeline.orchestration.circumstances import circumstances
from trisignal_pipeline.orchestration.daily_schedule import (
    daily_at,
    daily_bars,
    newest_complete_date,
)
from trisignal_pipeline.orchestration.daily_source import daily_run_config, daily_source
from trisignal_pipeline.orchestration.dates_of_runs import failed_dates
from trisignal_pipeline.orchestration.new_files import read_new_files, reading
from trisignal_pipeline.orchestration.partitions import (
    SYMBOL_DIMENSION,
    first_bar_date,
    parse_partition_key,
)
from trisignal_pipeline.orchestration.resources import PostgresResource, RawFolderResource
from trisignal_pipeline.orchestration.unasked_runs import (
    CIRCUMSTANCES_TAG,
    REFRESH_TAG,
    run_request,
    why_not_now,
)
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.raw_folder import Seen
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.unfinished_dates import (
    last_judged,
    last_looked_for,
    unfinished_dates,
)

KEEP_CURRENT_VARIABLE = "TRISIGNAL_KEEP_CURRENT_DAYS"
DEFAULT_KEEP_CURRENT_DAYS = 7

SOONEST_ASKED_AGAIN = timedelta(hours=1)
"""How soon the API is asked again for a date that it didn't have."""

AFTER_THE_SCHEDULE = timedelta(minutes=15)
"""How long the newest date is left to the schedule."""

IN_VAIN_FOR = timedelta(days=1)
"""How long a run that ended well and left a date unfinished stands for trying in vain."""


def keep_current_days(environment: Mapping[str, str] = os.environ) -> int:
    """How many complete dates are kept whole: `TRISIGNAL_KEEP_CURRENT_DAYS`, or 7.

    Raises:
        ConfigurationError: the variable holds no whole number from 1 up.
    """
    named = environment.get(KEEP_CURRENT_VARIABLE)
    if not named:
        return DEFAULT_KEEP_CURRENT_DAYS
    if not (named.isascii() and named.isdigit() and int(named) > 0):
        raise ConfigurationError(
            f"{KEEP_CURRENT_VARIABLE} is {named!r}; write a whole number of days from 1 up"
        )
    return int(named)


def newest_due_date(now: datetime, at: str | None) -> date:
    """The newest complete date at `now`; the schedule that runs `at` (HH:MM UTC) has it first."""
    if at is None:
        return newest_complete_date(now)
    of_day = datetime.strptime(at, "%H:%M") - datetime.strptime("00:00", "%H:%M")  # noqa: DTZ007
    return newest_complete_date(now - of_day - AFTER_THE_SCHEDULE)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the last days goes by."""

    connection: Connection
    instance: dg.DagsterInstance
    raw_dir: Path
    dates: DateRange
    now: datetime
    circumstances: str
    source: RawSource


@dg.sensor(
    jobs=[daily_bars, read_new_files],
    minimum_interval_seconds=60,
    default_status=(
        dg.DefaultSensorStatus.RUNNING if daily_at() else dg.DefaultSensorStatus.STOPPED
    ),
    description=(
        "Of the last complete dates of every active symbol, makes those again that are missing, "
        "unfinished or whose last run failed, as far as a verified file covers them or the API may "
        "have them by now: one run a symbol at a time. Runs by default where the schedule does."
    ),
)
def recent_dates_are_there(
    context: dg.SensorEvaluationContext, postgres: PostgresResource, raw_folder: RawFolderResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for every symbol that lacks a date which can be made."""
    now = datetime.now(UTC)
    newest = newest_due_date(now, daily_at())
    first = max(first_bar_date(), newest - timedelta(days=keep_current_days() - 1))
    if first > newest:
        return dg.SkipReason("no date is over yet")
    known = context.instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    config = daily_run_config()
    requests, reasons, uncovered = [], [], False
    with postgres.database().reading().connect("recent dates sensor") as connection:
        look = Look(
            connection,
            context.instance,
            raw_folder.path(),
            DateRange(first, newest),
            now,
            circumstances(connection, Settings.from_environment()),
            daily_source(),
        )
        failed = failed_dates(context.instance, look.dates, utc(look.dates.start_ns))
        for symbol in registry.active_symbols(connection):
            if symbol not in known:
                continue
            market = registry.market(connection, symbol)
            lacking = _lacking(look, market, failed)
            possible = _possible(look, market, lacking)
            uncovered = uncovered or len(possible) < len(lacking)
            if not possible:
                continue
            span = by_year(contiguous_ranges(possible)[0])[0]
            request = run_request(
                daily_bars.name, symbol, span, look.circumstances, run_config=config
            )
            reason = why_not_now(context.instance, request)
            if reason is None:
                requests.append(request)
            else:
                reasons.append(f"{symbol} {span} {reason}")
        unread = _unread(look) if uncovered else []
    if unread:
        read = reading(context.instance, unread)
        if isinstance(read, str):
            reasons.append(read)
        else:
            requests.append(read)
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SkipReason(
        "; ".join(reasons) or f"of {look.dates} everything is made that can be made now"
    )


def _lacking(look: Look, market: Market, failed: Mapping[tuple[str, date], datetime]) -> list[date]:
    """The trading dates of the market that are not whole, or whose last run failed."""
    symbol = str(market.symbol)
    minutes = expected_minutes(market.session_profile, look.dates.start, look.dates.end)
    trading = {day for day, count in zip(look.dates, minutes, strict=True) if count}
    judged = last_judged(look.connection, symbol, look.dates)
    lacking = set(unfinished_dates(look.connection, symbol, look.dates))
    for (of_symbol, day), when in failed.items():
        if of_symbol == symbol and (day not in judged or judged[day] < when):
            lacking.add(day)
    return sorted(lacking & trading)


def _possible(look: Look, market: Market, lacking: Sequence[date]) -> list[date]:
    """Those that there is something to make from, and that weren't just tried in vain."""
    if not lacking:
        return []
    symbol = str(market.symbol)
    coverage = catalogue.coverage(look.connection, look.raw_dir, market, look.dates)
    asked = last_looked_for(look.connection, symbol, look.dates)
    in_vain = _tried_in_vain(look, symbol)
    return [
        day
        for day in lacking
        if (
            day not in in_vain
            if coverage.files(day)
            else look.source is RawSource.databento_api
            and _may_be_sold(day, asked.get(day), look.now)
        )
    ]


def _tried_in_vain(look: Look, symbol: str) -> set[date]:
    """The dates of runs that ended well under the circumstances of now: another gives the same."""
    records = look.instance.get_run_records(
        dg.RunsFilter(
            job_name=daily_bars.name,
            tags={REFRESH_TAG: symbol, CIRCUMSTANCES_TAG: look.circumstances},
            statuses=[dg.DagsterRunStatus.SUCCESS],
            updated_after=look.now - IN_VAIN_FOR,
        )
    )
    tried: set[date] = set()
    for record in records:
        tags = record.dagster_run.tags
        _, start = parse_partition_key(tags["dagster/asset_partition_range_start"])
        _, end = parse_partition_key(tags["dagster/asset_partition_range_end"])
        tried.update(DateRange(start, end))
    return tried


def _may_be_sold(day: date, asked: datetime | None, now: datetime) -> bool:
    """Whether it is time to ask the API for a date, which was last asked for at `asked`.

    It publishes a date some hours after its end, and corrects old ones for days: the older the date
    is, the less often it is asked for.
    """
    ended = utc(DateRange(day, day).end_ns)
    return asked is None or now - asked >= max(SOONEST_ASKED_AGAIN, (now - ended) / 4)


def _unread(look: Look) -> list[Seen]:
    try:
        return catalogue.unread_files(look.connection, look.raw_dir)
    except ConfigurationError:
        return []
