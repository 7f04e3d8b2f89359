"""Every day, unasked: the newest complete UTC date of every active symbol, one run a symbol."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.assets import clean_bars, legacy_bars, raw_dbn_files
from trisignal_pipeline.orchestration.circumstances import circumstances
from trisignal_pipeline.orchestration.daily_source import daily_run_config
from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION
from trisignal_pipeline.orchestration.refresh import SIGNAL_ASSETS
from trisignal_pipeline.orchestration.resources import PostgresResource
from trisignal_pipeline.orchestration.unasked_runs import run_request
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry

DAILY_AT_VARIABLE = "TRISIGNAL_DAILY_AT"
DEFAULT_DAILY_AT = "01:30"

daily_bars = dg.define_asset_job(
    "daily_bars",
    selection=dg.AssetSelection.assets(
        raw_dbn_files.NAME, legacy_bars.NAME, clean_bars.NAME, *SIGNAL_ASSETS
    ),
    description=(
        "Every asset of one symbol and its newest dates. Launched by the schedule and the sensor "
        "of recent dates; for other dates use the asset page or `trisignal backfill`."
    ),
)


def daily_at(environment: Mapping[str, str] = os.environ) -> str | None:
    """When the day's run starts, `HH:MM` UTC by `TRISIGNAL_DAILY_AT`; None if it isn't set.

    Raises:
        ConfigurationError: the variable holds no time of day.
    """
    named = environment.get(DAILY_AT_VARIABLE)
    if not named:
        return None
    if re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", named) is None:
        raise ConfigurationError(
            f"{DAILY_AT_VARIABLE} is {named!r}; write a time of day in UTC, such as "
            f"{DEFAULT_DAILY_AT}"
        )
    return named


def newest_complete_date(now: datetime) -> date:
    """The last UTC date that is over at `now`."""
    return now.astimezone(UTC).date() - timedelta(days=1)


def _cron(at: str) -> str:
    hour, _, minute = at.partition(":")
    return f"{int(minute)} {int(hour)} * * *"


@dg.schedule(
    job=daily_bars,
    cron_schedule=_cron(daily_at() or DEFAULT_DAILY_AT),
    execution_timezone="UTC",
    # A laptop that plays with old files wants no errors of last night's.
    default_status=(
        dg.DefaultScheduleStatus.RUNNING if daily_at() else dg.DefaultScheduleStatus.STOPPED
    ),
    description=(
        "Materialises the newest complete UTC date of every active symbol, one run a symbol: one "
        f"that fails stops no other. Runs by default where {DAILY_AT_VARIABLE} says when."
    ),
)
def newest_date_of_every_symbol(
    context: dg.ScheduleEvaluationContext, postgres: PostgresResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run for every active symbol that has partitions."""
    day = newest_complete_date(context.scheduled_execution_time)
    config = daily_run_config()
    with postgres.database().connect("daily schedule") as connection:
        active = registry.active_symbols(connection)
        now = circumstances(connection, Settings.from_environment())
    known = set(context.instance.get_dynamic_partitions(SYMBOL_DIMENSION))
    requests = [
        # The key keeps a tick that is repeated from asking for a second run.
        run_request(
            daily_bars.name,
            symbol,
            DateRange(day, day),
            now,
            run_config=config,
            run_key=f"{day} {symbol}",
        )
        for symbol in active
        if symbol in known
    ]
    return requests or dg.SkipReason("no symbol of the registry is active")
