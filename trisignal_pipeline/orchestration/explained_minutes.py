"""Minutes that a run is asked to explain in its log."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError, RangeError
from trisignal_pipeline.market.dates import date_of_ns
from trisignal_pipeline.market.minutes import parse_minute
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.explanation import explain_minute, explanation_lines

VARIABLE = "DEBUG_TS"

DESCRIPTION = (
    "Minutes to explain in the run's log, rule by rule: the OPEN of bars in ISO 8601, such as "
    "2024-11-01T00:15:00Z. Those on dates of the run are explained for each of its symbols once "
    f"its signals are written. The environment variable {VARIABLE} adds more, with commas or "
    "spaces between them."
)


def asked_minutes(
    configured: Sequence[str], environment: Mapping[str, str] = os.environ
) -> list[int]:
    """The minutes of the run configuration and of `DEBUG_TS`, in order (nanoseconds, UTC).

    Raises:
        ConfigurationError: one of them is not the start of a minute with a time zone.
    """
    listed = re.split(r"[\s,]+", environment.get(VARIABLE, "").strip(", \t\n"))
    try:
        return sorted({parse_minute(text) for text in (*configured, *listed) if text})
    except RangeError as error:
        raise ConfigurationError(f"debug_ts or {VARIABLE}: {error}") from None


def log_explanations(
    context: dg.AssetExecutionContext,
    connection: Connection,
    market: Market,
    dates: Sequence[date],
    minutes: Sequence[int],
) -> None:
    """Write to the run's log what happened on those of `minutes` that lie on `dates`.

    A minute without a bar is a line that says so: nothing that is asked for the sake of
    understanding may fail a run.

    Args:
        context: whose log is written to.
        connection: in autocommit, outside any transaction.
        market: of which symbol.
        dates: those the run has computed.
        minutes: bars' OPEN, nanoseconds (UTC), for instance from `asked_minutes`.
    """
    for ts_ns in minutes:
        if date_of_ns(ts_ns) not in dates:
            continue
        try:
            text = "\n".join(explanation_lines(explain_minute(connection, market, ts_ns)))
        except RangeError as error:
            text = str(error)
        context.log.info("%s", text)
