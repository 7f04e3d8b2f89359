"""`trisignal housekeeping`: delete what settings say is kept no longer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.query.tables import TEXT, WHOLE, Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.readiness import ready_database
from trisignal_pipeline.storage.retention import Due, Retention
from trisignal_pipeline.storage.years import make_years_ahead


@click.command()
@click.option("--apply", "really", is_flag=True, help="Delete it; without this nothing is changed.")
@format_option
def housekeeping(form: Form, *, really: bool) -> None:
    """Print what the TRISIGNAL_KEEP_ settings say is kept no longer; with --apply, delete it.

    Each setting is a number of days, and off unless it is set. Bars, signals, what is still
    rejected, and the latest state of every partition are never among it. With --apply the
    partitions of the coming year are made too.
    """
    # Dagster takes seconds to load.
    from trisignal_pipeline.orchestration.housekeeping import delete, due  # noqa: PLC0415
    from trisignal_pipeline.orchestration.instance import open_instance  # noqa: PLC0415

    settings, keep = Settings.from_environment(), Retention.from_environment()
    now = datetime.now(UTC)
    database = ready_database(settings)
    if not keep.asks_for_anything():
        click.echo("no TRISIGNAL_KEEP_ setting is set: everything is kept", err=True)
    with open_instance(settings) as instance:
        if really:
            make_years_ahead(database, now)
            _print(delete(database, instance, keep, now), form, "deleted")
            return
        found = due(database, instance, keep, now)
    _print(found, form, "to_delete")
    if any(one.rows for one in found):
        click.echo("nothing was deleted; to do so: trisignal housekeeping --apply", err=True)


def _print(found: Iterable[Due], form: Form, column: str) -> None:
    rows = ((one.what, one.rows, one.size_bytes, one.variable, one.days) for one in found)
    columns = {"what": TEXT, column: WHOLE, "bytes": WHOLE, "setting": TEXT, "days": WHOLE}
    print_table(Table.of_rows(columns, rows), form)
