"""Bars follow the raw folder: what new and changed files cover is materialised, unasked.

A tick only looks: it stats the files and asks the catalogue. Reading is a run of its own.
"""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.assets import raw_dbn_files
from trisignal_pipeline.orchestration.circumstances import circumstances
from trisignal_pipeline.orchestration.new_files import is_reading, read_new_files, reading
from trisignal_pipeline.orchestration.partitions import SYMBOL_DIMENSION, first_bar_date
from trisignal_pipeline.orchestration.refresh import BARS_AND_SIGNALS
from trisignal_pipeline.orchestration.resources import PostgresResource, RawFolderResource
from trisignal_pipeline.orchestration.unasked_runs import run_request, why_not_now
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import catalogue, registry
from trisignal_pipeline.storage.catalogue import CataloguedFile
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.served_dates import (
    ServedDates,
    newest_file,
    newly_served,
    still_to_make,
)

FOLLOW_VARIABLE = "TRISIGNAL_FOLLOW_RAW_DIR"

_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_MOST_NAMED = 5

follow_raw_folder = dg.define_asset_job(
    "follow_raw_folder",
    selection=dg.AssetSelection.assets(raw_dbn_files.NAME, *BARS_AND_SIGNALS),
    description=(
        "Every asset of one symbol and the dates that new or changed files cover. Launched by the "
        "sensor; to do so by hand run `trisignal backfill`."
    ),
)


def follows_raw_dir(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether new files are materialised unasked: `TRISIGNAL_FOLLOW_RAW_DIR`, or no.

    Raises:
        ConfigurationError: the variable says neither yes nor no.
    """
    named = environment.get(FOLLOW_VARIABLE) or "no"
    if named.lower() not in _WORDS:
        raise ConfigurationError(f"{FOLLOW_VARIABLE} is {named!r}; write yes or no")
    return _WORDS[named.lower()]


@dataclass(frozen=True, slots=True)
class Followed:
    """What the sensor keeps between two looks.

    file     the id up to which catalogued files have been looked at
    served   what they serve and isn't made yet, in the order in which it is to be
    """

    file: int = 0
    served: tuple[ServedDates, ...] = ()

    @classmethod
    def of_cursor(cls, cursor: str | None) -> "Followed":
        """What `cursor` holds; nothing before the first look."""
        if not cursor:
            return cls()
        kept = json.loads(cursor)
        return cls(
            kept["file"],
            tuple(
                ServedDates(
                    symbol,
                    DateRange(date.fromisoformat(start), date.fromisoformat(end)),
                    datetime.fromisoformat(since),
                )
                for symbol, start, end, since in kept["served"]
            ),
        )

    def cursor(self) -> str:
        """It as text."""
        served = [
            [one.symbol, str(one.dates.start), str(one.dates.end), one.since.isoformat()]
            for one in self.served
        ]
        return json.dumps({"file": self.file, "served": served})


@dg.sensor(
    jobs=[read_new_files, follow_raw_folder],
    minimum_interval_seconds=60,
    # A laptop on which somebody looks at an old folder must not compute all of it unasked.
    default_status=(
        dg.DefaultSensorStatus.RUNNING if follows_raw_dir() else dg.DefaultSensorStatus.STOPPED
    ),
    description=(
        "Looks for new and changed files in the raw folder, has them read, and then has every "
        "asset made of the dates that they cover, for every active symbol: a year a run at most, "
        f"and one run a symbol at a time. Runs by default where {FOLLOW_VARIABLE} says yes."
    ),
)
def bars_follow_the_raw_folder(
    context: dg.SensorEvaluationContext, postgres: PostgresResource, raw_folder: RawFolderResource
) -> dg.SensorResult:
    """Request reading what is unread, and a run of each symbol that files serve."""
    before = Followed.of_cursor(context.cursor)
    instance, raw_dir = context.instance, raw_folder.path()
    known = instance.get_dynamic_partitions(SYMBOL_DIMENSION)
    with postgres.database().reading().connect("raw folder sensor") as connection:
        try:
            unread = catalogue.unread_files(connection, raw_dir)
        except ConfigurationError as error:
            return dg.SensorResult(skip_reason=str(error), cursor=before.cursor())
        refused = catalogue.refused_files(connection, raw_dir)
        active = [one for one in registry.active_symbols(connection) if one in known]
        after = _look(connection, instance, raw_dir, active, before)
        now = circumstances(connection, Settings.from_environment()) if after.served else ""
    for file in refused:
        if file.id > before.file:
            context.log.warning("refused: %s: %s", file.path.name, file.reason)
    wanted: dict[str, dg.RunRequest] = {}
    for one in after.served:
        request = run_request(follow_raw_folder.name, one.symbol, one.dates, now)
        wanted.setdefault(one.symbol, request)
    waiting = {symbol: why_not_now(instance, request) for symbol, request in wanted.items()}
    requests = [request for symbol, request in wanted.items() if waiting[symbol] is None]
    reasons = [f"{symbol} {reason}" for symbol, reason in waiting.items() if reason]
    if unread:
        read = reading(instance, unread)
        if isinstance(read, str):
            reasons.append(read)
        else:
            requests.append(read)
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=after.cursor())
    reasons = reasons or ["everything that verified files cover is made"]
    return dg.SensorResult(
        skip_reason="; ".join([*reasons, *_in_words(refused)]), cursor=after.cursor()
    )


def _look(
    connection: Connection,
    instance: dg.DagsterInstance,
    raw_dir: Path,
    symbols: Sequence[str],
    before: Followed,
) -> Followed:
    """What is to be made by now: what was left, and what files serve that are new since."""
    dates = DateRange(first_bar_date(), datetime.now(UTC).date() - timedelta(days=1))
    # While files are being read, they are not all there.
    file = before.file if is_reading(instance) else newest_file(connection)
    markets = {symbol: registry.market(connection, symbol) for symbol in symbols}
    left: list[ServedDates] = []
    for served in before.served:
        # Only what comes next of a symbol is looked at: there may be years of it.
        if any(one.symbol == served.symbol for one in left):
            left.append(served)
        elif served.symbol in markets and not _was_done(instance, served):
            left += still_to_make(connection, markets[served.symbol], served)
    new = [
        served
        for market in (markets.values() if file > before.file else ())
        for served in newly_served(connection, raw_dir, market, dates, before.file)
    ]
    # What a new file serves as well is made once, of all files.
    again = {(one.symbol, day) for one in new for day in one.dates}
    left = [one for one in left if not all((one.symbol, day) in again for day in one.dates)]
    return Followed(file, (*left, *new))


def _was_done(instance: dg.DagsterInstance, served: ServedDates) -> bool:
    """Whether the run over exactly these dates ended well; what it passed over stays so."""
    request = run_request(follow_raw_folder.name, served.symbol, served.dates, "")
    tags = {name: value for name, value in request.tags.items() if value}
    return bool(
        instance.get_runs_count(
            dg.RunsFilter(
                job_name=follow_raw_folder.name,
                tags=tags,
                statuses=[dg.DagsterRunStatus.SUCCESS],
                created_after=served.since,
            )
        )
    )


def _in_words(refused: Sequence[CataloguedFile]) -> list[str]:
    said = [f"refused: {file.path.name}: {file.reason}" for file in refused[:_MOST_NAMED]]
    more = len(refused) - len(said)
    return [*said, f"and {more} more refused files"] if more else said
