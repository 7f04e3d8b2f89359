"""`trisignal refresh`: compute again what is in doubt."""

from __future__ import annotations

import sys

import click

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.doubts import doubts
from trisignal_pipeline.storage.lead_doubts import dates_of_other_contracts
from trisignal_pipeline.storage.readiness import ready_database
from trisignal_pipeline.storage.stale_dates import stale_clean_dates


@click.command()
@click.argument("symbol", metavar="[SYMBOL]", required=False)
def refresh(symbol: str | None) -> None:
    """Make again what is in doubt, of SYMBOL or of all symbols.

    A signal depends on every bar before it. When a stored bar changes, appears or disappears, or
    the registry's rules do, all later signals are in doubt until they are computed again. When a
    new file makes another contract lead a stored date, its bars are in doubt as well. The
    daemon of `trisignal dev` does this by itself; this command does it now, and exits with 1 if
    anything is still in doubt after it.
    """
    settings = Settings.from_environment()
    database = ready_database(settings)
    with database.reading().connect("refresh") as connection:
        if symbol is not None:
            registry.market(connection, symbol)
        found = _in_doubt(connection, symbol)
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
        sync_symbols(instance, {*active, *found})
        for each in found:
            done = refresh_symbol(build_defs(), instance, database, each)
            made = [
                *((dates, "made again, of the contract that leads now") for dates in done.rolled),
                *((dates, "clean bars made again, of the legacy ones") for dates in done.stale),
                *((dates, "what was in doubt is computed again") for dates in done.ranges),
            ]
            for run, (dates, what) in zip(done.runs, made, strict=True):
                if run.success:
                    click.echo(f"{each} {dates}: {what}")
                for failure in run.failures:
                    message = f"{failure.step}: {failure.error_class}: {failure.message}"
                    click.echo(f"error: {each} {message}", err=True)
    with database.reading().connect("refresh") as connection:
        left = _in_doubt(connection, symbol)
    for each, reasons in left.items():
        for dates, reason in reasons:
            click.echo(f"error: {each} {dates}: still in doubt ({reason})", err=True)
    if left:
        sys.exit(1)


def _in_doubt(connection: Connection, symbol: str | None) -> dict[str, list[tuple[DateRange, str]]]:
    """By symbol, the dates in doubt with the reason; of `symbol` or of all."""
    found: dict[str, list[tuple[DateRange, str]]] = {}
    for each, spans in dates_of_other_contracts(connection).items():
        found[each] = [(dates, "the files name another lead contract") for dates in spans]
    for each, spans in stale_clean_dates(connection).items():
        stale = [(dates, "clean bars are of older legacy ones") for dates in spans]
        found.setdefault(each, []).extend(stale)
    for doubt in doubts(connection):
        dates = DateRange(doubt.first, doubt.last)
        found.setdefault(doubt.symbol, []).append((dates, doubt.reasons))
    return {each: reasons for each, reasons in found.items() if symbol in (None, each)}
