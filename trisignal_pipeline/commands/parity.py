"""`trisignal parity`: a chart export against the database."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import click

from trisignal_pipeline.commands.arguments import UtcDate
from trisignal_pipeline.commands.printing import print_table
from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.dates import DateRange, date_of_ns, iso_minute, utc
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.query.chart_export import ChartExport, read_chart_export
from trisignal_pipeline.query.parity import Parity, compare
from trisignal_pipeline.query.tables import TEXT, TIME, WHOLE, Table
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.readiness import ready_database


@click.command()
@click.argument("symbol", metavar="SYMBOL")
@click.argument("file", metavar="FILE.csv", type=click.Path(path_type=Path))
@click.option("--start", type=UtcDate(), help="Leave out bars that start before this UTC date.")
@click.option("--end", type=UtcDate(), help="Leave out bars that start after this UTC date.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 100),
    default=100.0,
    show_default=True,
    metavar="PERCENT",
    help="Bars that must agree for success.",
)
@click.option(
    "--differences",
    "shown",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many differences, and bars of one side alone, to show.",
)
@click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True
)
def parity(
    symbol: str,
    file: Path,
    start: date | None,
    end: date | None,
    min_agreement: float,
    shown: int,
    form: str,
) -> None:
    """Compare a chart exported from TradingView with what is stored of SYMBOL, bar by bar.

    FILE.csv has time, open, high, low, close, and what it has of: Volume, Bias 1m … Bias 1d, Bull
    Triangle, Bear Triangle, as the indicator in pine/ plots them. A chart that is back-adjusted may
    differ by one constant offset for each contract, which is found and reported.

    \b
    trisignal parity GLBX.MDP3:NQ "CME_MINI_NQ1!, 5.csv"

    Exits with 0 if every bar agrees in everything compared (or --min-agreement percent of them),
    with 1 otherwise.
    """
    export = _between(read_chart_export(file), start, end)
    database = ready_database(Settings.from_environment()).reading()
    with database.connect("parity") as connection:
        found = compare(connection, registry.market(connection, symbol), export, shown)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if form == "json":
        click.echo(json.dumps(_as_json(found, file, shown), indent=1))
    else:
        _print_for_people(found, shown)
    if not found.reaches(min_agreement):
        sys.exit(1)


def _between(export: ChartExport, start: date | None, end: date | None) -> ChartExport:
    first, last = (date_of_ns(int(export.ts[row])) for row in (0, -1))
    wanted = DateRange(start or min(first, end or first), end or max(last, start or last))
    within = export.between(wanted.start_ns, wanted.end_ns)
    if not len(within):
        raise RangeError(
            f"no bar of the export starts on {wanted}; it reaches from {first} to {last}"
        )
    return within


def _print_for_people(found: Parity, shown: int) -> None:
    first, last = map(iso_minute, found.span)
    click.echo(
        f"{found.symbol} {found.timeframe}, bars of {first} to {last}:\n"
        f"{found.agreeing:,} of {found.bars:,} bars agree ({found.percent:g} %)\n"
    )
    print_table(
        Table.of_rows(
            {"column": TEXT, "bars compared": WHOLE, "agree": WHOLE, "differ": WHOLE},
            [(c.column, c.compared, c.agreeing, c.compared - c.agreeing) for c in found.columns],
        )
    )
    for reason in found.not_compared:
        click.echo(f"not compared: {reason}")
    for offset in found.offsets:
        if offset.offset:
            click.echo(
                f"{offset.contract}: the chart is shifted by {points(offset.offset)} points "
                f"({offset.agreeing:,} of {4 * offset.bars:,} prices)"
            )
    if found.differences:
        click.echo(f"\nfirst {len(found.differences)} of {found.differing_values:,} differences")
        print_table(
            Table.of_rows(
                {"ts": TIME, "line": WHOLE, "column": TEXT, "chart": TEXT, "database": TEXT},
                [(utc(d.ts), d.line, d.column, d.chart, d.database) for d in found.differences],
            )
        )
    for side, alone in (("chart", found.only_chart), ("database", found.only_database)):
        if len(alone):
            more = " …" if len(alone) > shown else ""
            listed = ", ".join(_minutes(alone, shown))
            bars = "1 bar" if len(alone) == 1 else f"{len(alone):,} bars"
            click.echo(f"only in the {side}: {bars}: {listed}{more}")


def _as_json(found: Parity, file: Path, shown: int) -> dict[str, object]:
    return {
        "symbol": found.symbol,
        "file": str(file),
        "timeframe": found.timeframe,
        "first": iso_minute(found.span[0]),
        "last": iso_minute(found.span[1]),
        "bars": found.bars,
        "agreeing": found.agreeing,
        "agreement_percent": found.percent,
        "columns": [
            {"column": c.column, "compared": c.compared, "agreeing": c.agreeing}
            for c in found.columns
        ],
        "not_compared": list(found.not_compared),
        "offsets": [
            {
                "contract": offset.contract,
                "points": points(offset.offset),
                "bars": offset.bars,
                "prices_agreeing": offset.agreeing,
            }
            for offset in found.offsets
        ],
        "differing_values": found.differing_values,
        "differences": [
            {
                "ts": iso_minute(d.ts),
                "line": d.line,
                "column": d.column,
                "chart": d.chart,
                "database": d.database,
            }
            for d in found.differences
        ],
        "only_in_chart": {
            "bars": len(found.only_chart),
            "first": _minutes(found.only_chart, shown),
        },
        "only_in_database": {
            "bars": len(found.only_database),
            "first": _minutes(found.only_database, shown),
        },
        "warnings": list(found.warnings),
    }


def _minutes(starts: Int64s, shown: int) -> list[str]:
    return [iso_minute(ts) for ts in starts[:shown].tolist()]
