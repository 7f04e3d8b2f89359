"""All that is known of one minute of a market: its bar, its biases, its triangle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trisignal_pipeline.errors import NotFoundError, RangeError
from trisignal_pipeline.market.dates import NS_PER_MINUTE, iso_minute
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.query.dataset import dataset_page
from trisignal_pipeline.query.explanation import as_values
from trisignal_pipeline.query.history import FLAGS, PRICES, Span, triangles_page
from trisignal_pipeline.schemas import TRIANGLE_BIAS_COLUMNS
from trisignal_pipeline.storage.connection import Connection, rows
from trisignal_pipeline.storage.explanation import explain_minute


@dataclass(frozen=True, slots=True)
class World:
    """One minute. Times are written in RFC 3339, prices are in points.

    bias       by the names of `TRIANGLE_BIAS_COLUMNS`; None while its signal isn't computed
    triangle   None where there is none
    in_doubt   the signal was computed from other bars or rules than there are now
    previous_triangle, next_triangle   the minutes of the nearest ones around it
    """

    symbol: str
    ts: str
    contract: str
    bar: dict[str, float | int]
    bias: dict[str, str] | None
    triangle: dict[str, Any] | None
    in_doubt: bool
    previous_triangle: str | None
    next_triangle: str | None


def world(connection: Connection, market: Market, ts_ns: int) -> World:
    """The minute that opens at `ts_ns` (nanoseconds since the epoch, UTC).

    Raises:
        NotFoundError: there is no clean bar; the message names those around it.
    """
    symbol = str(market.symbol)
    span = Span(symbol, ts_ns, ts_ns + NS_PER_MINUTE)
    found = dataset_page(connection, market, span, ("bars", "bias"), limit=1).table.to_pylist()
    [near] = rows(connection, _AROUND, symbol=symbol, ts=iso_minute(ts_ns))
    if not found:
        raise NotFoundError(
            f"{symbol} has no bar at {iso_minute(ts_ns)}; the nearest ones are at "
            f"{near['previous_bar'] or 'none before'} and {near['next_bar'] or 'none after'}"
        )
    [row] = found
    events = triangles_page(connection, span, limit=1).table.to_pylist()
    return World(
        symbol=symbol,
        ts=iso_minute(ts_ns),
        contract=row["contract"],
        bar={name: row[name] for name in (*PRICES, "volume")},
        bias=None
        if row["bias_1m"] is None
        else {name: row[name] for name in TRIANGLE_BIAS_COLUMNS},
        triangle={name: events[0][name] for name in ("direction", *FLAGS)} if events else None,
        in_doubt=near["in_doubt"],
        previous_triangle=near["previous_triangle"],
        next_triangle=near["next_triangle"],
    )


_AROUND = """
    WITH asked AS (SELECT %(symbol)s::text AS symbol, %(ts)s::timestamptz AS ts), around AS (
        SELECT
            (SELECT max(b.ts) FROM market_bars_ohlcv_1m_clean b
             WHERE b.symbol = asked.symbol AND b.ts < asked.ts) AS previous_bar,
            (SELECT min(b.ts) FROM market_bars_ohlcv_1m_clean b
             WHERE b.symbol = asked.symbol AND b.ts > asked.ts) AS next_bar,
            (SELECT max(e.ts) FROM triangle_events_v1 e
             WHERE e.symbol = asked.symbol AND e.ts < asked.ts) AS previous_triangle,
            (SELECT min(e.ts) FROM triangle_events_v1 e
             WHERE e.symbol = asked.symbol AND e.ts > asked.ts) AS next_triangle,
            EXISTS (SELECT FROM signal_dates_in_doubt d
                    WHERE d.symbol = asked.symbol
                      AND d.date = (asked.ts AT TIME ZONE 'UTC')::date) AS in_doubt
        FROM asked)
    SELECT to_char(previous_bar AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS previous_bar,
           to_char(next_bar AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS next_bar,
           to_char(previous_triangle AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               AS previous_triangle,
           to_char(next_triangle AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
               AS next_triangle,
           in_doubt
    FROM around
"""


def explained(connection: Connection, market: Market, ts_ns: int) -> dict[str, Any]:
    """Why the minute is as it is, as `query.explanation` writes it.

    Args:
        connection: in autocommit, outside any transaction.
        market: whose anchor, filters and thresholds count.
        ts_ns: the bar's OPEN.

    Raises:
        NotFoundError: the signal reads no bar there; the message says why.
    """
    try:
        return as_values(explain_minute(connection, market, ts_ns))
    except RangeError as error:
        raise NotFoundError(str(error)) from error
