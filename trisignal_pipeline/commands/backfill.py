"""`trisignal backfill`: every asset of one symbol over a range of dates."""

from __future__ import annotations

import sys
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from trisignal_pipeline.commands.arguments import symbol_and_dates
from trisignal_pipeline.commands.buying import budget_and_again, print_offers, print_quote
from trisignal_pipeline.commands.progress import progress_bar
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.batches import DEFAULT_BATCH_ROWS, MOST_BATCH_ROWS
from trisignal_pipeline.storage.purchases import dollars

if TYPE_CHECKING:
    from trisignal_pipeline.orchestration.backfill import Backfilled


@click.command()
@symbol_and_dates
@click.option(
    "--source",
    type=click.Choice(["files", "databento_api"]),
    default="files",
    show_default=True,
    help="databento_api: dates that no file covers are bought first, as `trisignal fetch` does.",
)
@budget_and_again
@click.option(
    "--replace-api-dates",
    is_flag=True,
    help="Let clean bars that `trisignal reingest` made be replaced.",
)
@click.option(
    "--batch-rows",
    type=click.IntRange(1, MOST_BATCH_ROWS),
    default=DEFAULT_BATCH_ROWS,
    show_default=True,
    help="How many bars one transaction writes. More is faster, less is gentler.",
)
def backfill(
    symbol: str,
    start: date,
    end: date,
    source: str,
    budget: Decimal,
    *,
    again: bool,
    replace_api_dates: bool,
    batch_rows: int,
) -> None:
    """Materialise every asset of SYMBOL from --start to --end, both UTC dates included.

    Reads the DBN files below TRISIGNAL_RAW_DIR, writes legacy bars, clean bars, biases and
    triangles, and ends by computing again what of later dates that puts in doubt. It can be run
    as often as one likes, over any split of the dates and in any order: the result is the same.

    \b
    TRISIGNAL_RAW_DIR=~/databento trisignal backfill GLBX.MDP3:NQ \\
        --start 2024-11-01 --end 2025-01-31

    Exits with 1 if a run failed, or if a date is covered only by files that were refused.
    """
    dates = DateRange(start, end)
    if again and source == "files":
        raise click.UsageError("--again buys, which takes --source databento_api")
    # Dagster takes seconds to import; a mistyped date should not wait for it.
    from trisignal_pipeline.orchestration import backfill as backfills  # noqa: PLC0415

    with progress_bar(symbol, dates) as progress:
        done = backfills.backfill(
            Settings.from_environment(),
            symbol,
            dates,
            progress,
            buying=backfills.Buying(budget, again) if source == "databento_api" else None,
            replace_api_dates=replace_api_dates,
            batch_rows=batch_rows,
        )
    print_summary(done)
    if not done.succeeded:
        sys.exit(1)


def print_summary(done: Backfilled) -> None:
    """Say what a backfill did, and what it couldn't do."""
    if done.bought is not None:
        for quote in done.bought.quotes:
            print_quote(quote)
            print_offers(quote, "bought")
        click.echo(f"spent at Databento: {dollars(done.bought.spent_usd)}")
    told = " ".join(problem.reason for problem in done.problems)
    for name, reason in done.refused:
        if name not in told:
            click.echo(f"refused: {name}: {reason}", err=True)
    for problem in done.problems:
        kind = "error" if problem.refused else "warning"
        click.echo(f"{kind}: {done.symbol} {problem.dates}: {problem.reason}", err=True)
    for failure in done.failures:
        # An error of a library may be of many lines.
        message = " ".join(failure.message.split())
        click.echo(f"error: {failure.step}: {failure.error_class}: {message}", err=True)
    for asset, counts in done.counts.items():
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        click.echo(f"{asset:<12} {listed}")
        for rule, bars in done.rejected.get(asset, {}).items():
            click.echo(f"{'':<12} rejected by {rule}: {bars:,}")
    for part in done.rolled:
        click.echo(f"materialised too, the files naming another lead contract now: {part}")
    for part in done.recomputed:
        click.echo(f"computed again, being in doubt: {part}")
    read = done.counts.get("legacy_bars") or done.counts.get("clean_bars") or {}
    bars = read.get("read", 0)
    click.echo(
        f"{done.symbol} {done.dates}: {bars:,} bars read, {done.triangles:,} triangles in "
        f"{done.seconds:.1f} s ({bars / done.seconds:,.0f} bars/s)"
        + ("" if not done.failures else "; FAILED")
    )
