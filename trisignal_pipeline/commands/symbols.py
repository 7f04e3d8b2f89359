"""`trisignal symbols`: the registry."""

from __future__ import annotations

from collections.abc import Iterable

import click

from trisignal_pipeline.commands.printing import Form, format_option, print_table
from trisignal_pipeline.query.operations import listed_symbols
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.readiness import ready_database


@click.group()
def symbols() -> None:
    """The symbol registry: which markets there are, and what is particular to each.

    \b
    Settings (NAME=VALUE; an empty value switches a threshold off):
      roll_rule                v (volume), c (nearest expiry), n (open interest)
      rank                     0 is the lead contract itself
      is_active                true or false
      higher_timeframe_anchor  session (as TradingView shows CME futures) or utc
      history_start            first UTC date the signal may use
      tick_size                in points
      price_floor, discontinuity_points, small_range_points, big_gap_points,
      flat_discontinuity_points                    hygiene thresholds, in points
      lockout_alarm_minutes    how many bars in a row may be rejected before it is an alarm
      require_engulfing, require_sweep_engulfing, htf_aligned_only   triangle filters
      aligned_timeframes       of 5m,15m,1h,4h,1d, with commas
    """


@symbols.command(name="list")
@format_option
def list_(form: Form) -> None:
    """Print the registry."""
    with questions(Settings.from_environment(), "symbols") as connection:
        print_table(listed_symbols(connection), form)


@symbols.command()
@click.argument("symbol", metavar="SYMBOL")
@click.argument("settings", nargs=-1, metavar="[NAME=VALUE]...")
def add(symbol: str, settings: tuple[str, ...]) -> None:
    """Enter SYMBOL (DATASET:ROOT, such as GLBX.MDP3:MGC) with defaults and the given settings."""
    with ready_database(Settings.from_environment()).connect("symbols") as connection:
        added = registry.add_symbol(connection, symbol, _parsed(settings))
    _tell_dagster()
    click.echo(f"{symbol} {'is in the registry' if added else 'was in the registry already'}")


@symbols.command(name="set")
@click.argument("symbol", metavar="SYMBOL")
@click.argument("settings", nargs=-1, required=True, metavar="NAME=VALUE...")
def set_(symbol: str, settings: tuple[str, ...]) -> None:
    """Change settings of SYMBOL.

    Anchor, thresholds, filters and history start put stored signals in doubt: `trisignal refresh`
    computes them again. A roll rule or rank applies to all stored dates at the next backfill.
    """
    with ready_database(Settings.from_environment()).connect("symbols") as connection:
        registry.set_symbol(connection, symbol, _parsed(settings))
    _tell_dagster()
    click.echo(f"{symbol}: {', '.join(settings)}")


def _parsed(settings: Iterable[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.BadParameter(f"{setting!r} is not of the form NAME=VALUE")
        listed: object = [part for part in value.split(",") if part]
        values[name] = listed if name == "aligned_timeframes" else value or None
    return values


def _tell_dagster() -> None:
    # Dagster takes seconds to import; most commands can do without.
    from trisignal_pipeline.orchestration.instance import open_instance  # noqa: PLC0415
    from trisignal_pipeline.orchestration.partitions import sync_symbols  # noqa: PLC0415

    settings = Settings.from_environment()
    with questions(settings, "symbols") as connection:
        active = registry.active_symbols(connection)
    with open_instance(settings) as instance:
        sync_symbols(instance, active)
