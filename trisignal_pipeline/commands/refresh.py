"""`trisignal refresh`: compute again what is in doubt."""

from __future__ import annotations

import sys

import click

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.readiness import ready_database


@click.command()
@click.argument("symbol", metavar="[SYMBOL]", required=False)
def refresh(symbol: str | None) -> None:
    """Compute again the signals that are in doubt, of SYMBOL or of all symbols.

    A signal depends on every bar before it. When a stored bar changes, appears or disappears, or
    the registry's rules do, all later signals are in doubt until they are computed again. The
    daemon of `trisignal dev` does this by itself; this command does it now, and exits with 1 if
    anything is still in doubt after it.
    """
    settings = Settings.from_environment()
    database = ready_database(settings)
    with database.reading().connect("refresh") as connection:
        if symbol is not None:
            registry.market(connection, symbol)
        found = [doubt for doubt in doubts(connection) if symbol in (None, doubt.symbol)]
        active = registry.active_symbols(connection)
    if not found:
        click.echo("nothing is in doubt")
        return
    # Dagster takes seconds to import.
    from trisignal_pipeline.orchestration.definitions import build_defs  # noqa: PLC0415
    from trisignal_pipeline.orchestration.instance import open_instance  # noqa: PLC0415
    from trisignal_pipeline.orchestration.partitions import sync_symbols  # noqa: PLC0415
    from trisignal_pipeline.orchestration.refresh import refresh_symbol  # noqa: PLC0415

    with open_instance(settings) as instance:
        sync_symbols(instance, {*active, *(doubt.symbol for doubt in found)})
        for doubt in found:
            done = refresh_symbol(build_defs(), instance, database, doubt.symbol)
            for run, dates in zip(done.runs, done.ranges, strict=True):
                if run.success:
                    click.echo(f"{doubt.symbol} {dates}: what was in doubt is computed again")
                for failure in run.failures:
                    message = f"{failure.step}: {failure.error_class}: {failure.message}"
                    click.echo(f"error: {doubt.symbol} {message}", err=True)
    with database.reading().connect("refresh") as connection:
        left = [doubt for doubt in doubts(connection) if symbol in (None, doubt.symbol)]
    for doubt in left:
        dates = DateRange(doubt.first, doubt.last)
        click.echo(f"error: {doubt.symbol} {dates}: still in doubt ({doubt.reasons})", err=True)
    if left:
        sys.exit(1)
