"""New and changed files of the raw folder are read into the catalogue: by a run, not the daemon."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from trisignal_pipeline.market.dates import NS_PER_SECOND
from trisignal_pipeline.orchestration.circumstances import digest
from trisignal_pipeline.orchestration.dates_of_runs import UNFINISHED
from trisignal_pipeline.orchestration.io_manager import NothingStored
from trisignal_pipeline.orchestration.resources import PostgresResource, RawFolderResource
from trisignal_pipeline.orchestration.step_retries import tried_again
from trisignal_pipeline.orchestration.unasked_runs import (
    CIRCUMSTANCES_TAG,
    REFRESH_TAG,
    why_not_now,
)
from trisignal_pipeline.sources.raw_folder import Seen
from trisignal_pipeline.storage import catalogue

STILL_SECONDS = 60
"""How long nobody must have written to new files before a run reads them."""

LOOK_AGAIN = timedelta(hours=1)
"""How soon files that can't be read are tried again, though they look the same."""

_ABOUT = "raw folder"


@dg.op(description="Reads new and changed files of the raw folder, and says which were refused.")
@tried_again
def catalogue_new_files(
    context: dg.OpExecutionContext, postgres: PostgresResource, raw_folder: RawFolderResource
) -> Iterator[dg.Output[None]]:
    """Bring the catalogue up to date."""
    found = catalogue.refresh(postgres.database(), raw_folder.path())
    context.log.info("%d files in the raw folder, %d read now", found.files, found.read)
    for refused in found.refused:
        context.log.warning("refused: %s: %s", refused.path.name, refused.reason)
    yield dg.Output(None)


@dg.job(
    # Those of the definitions would be bound to a copy, and Dagster warn of the sensors that name
    # this one.
    resource_defs={
        "postgres": PostgresResource(),
        "raw_folder": RawFolderResource(),
        "io_manager": NothingStored(),
    },
    executor_def=dg.in_process_executor,
    description=(
        "Verifies and catalogues the new and changed files of the raw folder. Launched by the "
        "sensors; materialising raw_dbn_files does the same for its own run."
    ),
)
def read_new_files() -> None:
    """One step, without partitions."""
    catalogue_new_files()


def is_reading(instance: dg.DagsterInstance) -> bool:
    """Whether such a run is under way."""
    return bool(
        instance.get_runs_count(dg.RunsFilter(job_name=read_new_files.name, statuses=UNFINISHED))
    )


def reading(instance: dg.DagsterInstance, unread: Sequence[Seen]) -> dg.RunRequest | str:
    """A run that reads the files, or why there is to be none now."""
    written = max(file.mtime_ns for file in unread)
    names = ", ".join(file.path.name for file in unread[:3])
    what = f"{len(unread)} new or changed files ({names}{', ...' if unread[3:] else ''})"
    # A time of writing in the future tells nothing.
    if 0 <= (time.time_ns() - written) / NS_PER_SECOND < STILL_SECONDS:
        return f"{what}: one was written to less than {STILL_SECONDS} s ago"
    looks = digest([[str(one.path), one.size, one.mtime_ns, one.beside] for one in unread])
    request = dg.RunRequest(
        job_name=read_new_files.name, tags={REFRESH_TAG: _ABOUT, CIRCUMSTANCES_TAG: looks}
    )
    in_vain = dg.RunsFilter(
        job_name=read_new_files.name,
        tags={CIRCUMSTANCES_TAG: looks},
        statuses=[dg.DagsterRunStatus.SUCCESS],
        updated_after=datetime.now(UTC) - LOOK_AGAIN,
    )
    if instance.get_runs_count(in_vain):
        return f"{what} couldn't be read less than {LOOK_AGAIN} ago"
    reason = why_not_now(instance, request)
    return request if reason is None else f"the raw folder {reason}"
