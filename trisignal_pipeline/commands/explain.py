"""`trisignal explain`: one minute, rule by rule."""

from __future__ import annotations

import json

import click

from trisignal_pipeline.commands.arguments import Minute
from trisignal_pipeline.query.explanation import as_values
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.explanation import explain_minute, explanation_lines


@click.command()
@click.argument("symbol", metavar="SYMBOL")
@click.argument("ts", metavar="TS", type=Minute())
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="text for people; json (one object) for programs.",
)
def explain(symbol: str, ts: int, form: str) -> None:
    """Show what happened to SYMBOL on one minute, and why it is a triangle or not.

    TS is the bar's OPEN in ISO 8601, with Z for UTC or an offset. Shown are the bar, the bias
    before and after it on each timeframe, which rule fired on which gap, the live gaps nearest to
    the close, the filters and the decision; and whether the stored signal says the same.

    \b
    trisignal explain GLBX.MDP3:NQ 2024-11-01T00:15:00Z
    """
    with questions(Settings.from_environment(), "explain", autocommit=True) as connection:
        explained = explain_minute(connection, registry.market(connection, symbol), ts)
    if form == "json":
        click.echo(json.dumps(as_values(explained), indent=1))
    else:
        click.echo("\n".join(explanation_lines(explained)))
