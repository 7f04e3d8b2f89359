"""What was delivered and doesn't stand: kept with its file, its values and the rules it broke.

A rejected bar goes to `quarantined_bars` and stays there; once a run over its minute rejects it no
longer, it is released. A bar that a later file overruled broke no rule: it is a version of the
minute's bar that never was in the table, and goes to `market_bars_revisions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from psycopg import sql

from trisignal_pipeline.market.bars import Bools, Int32s
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.screening import Screened
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.bars import BarsTable
from trisignal_pipeline.storage.binary_copy import copy_in, timestamps
from trisignal_pipeline.storage.connection import Connection


def keep_rejected(
    connection: Connection,
    table: BarsTable,
    symbol: str,
    delivery: Screened,
    span_ns: tuple[int, int],
    *,
    files: Sequence[IngestFile],
    run_id: int,
    source: str,
) -> None:
    """Make the rejected bars of `delivery` all that is in quarantine of a span; the caller commits.

    What is there already, equal in every value, stays as it is: doing the same again changes
    nothing. What is there and no longer rejected is released.

    Args:
        connection: in the transaction that writes the bars of the span.
        table: the one the bars are kept out of.
        symbol: internal symbol.
        delivery: all that was delivered of the span.
        span_ns: from and to (excluded), nanoseconds since the epoch: the bars' OPEN.
        files: what was delivered, in the order that `delivery.origin` counts by; empty for bars
            that were read from a table.
        run_id: the audit's row.
        source: where the bars were read from.
    """
    parameters: dict[str, object] = {
        "symbol": symbol,
        "layer": table.layer,
        "start": utc(span_ns[0]),
        "end": utc(span_ns[1]),
        "run": run_id,
        "source": source,
    }
    if not len(delivery.rejected):
        connection.execute(_RELEASE_ALL, parameters)
        return
    bars = delivery.rejected
    combinations, rules = _combinations(delivery.broken)
    connection.execute(_STAGING)
    copy_in(
        connection,
        _COPY,
        {
            "ts": timestamps(bars.ts),
            "stamp": timestamps(bars.ts + table.stamp_ns),
            "open": bars.open,
            "high": bars.high,
            "low": bars.low,
            "close": bars.close,
            "volume": bars.volume,
            "contract": bars.contract,
            "rules": rules,
            "origin": delivery.origin,
            "superseded": delivery.overruled_by >= 0,
        },
    )
    parameters |= {
        "contracts": list(bars.contracts),
        "rules": combinations,
        "names": [file.name for file in files],
        "hashes": [file.sha256 for file in files],
    }
    connection.execute(_QUARANTINE, parameters)
    if (delivery.overruled_by >= 0).any():
        connection.execute(_SUPERSEDE, parameters)


def _combinations(broken: Mapping[str, Bools]) -> tuple[list[str], Int32s]:
    """The combinations of rules that occur, each as names joined by blanks, and each row's one."""
    masks = np.column_stack(list(broken.values()))
    found, codes = np.unique(masks, axis=0, return_inverse=True)
    names = np.array(list(broken))
    return [" ".join(names[row]) for row in found], codes.astype(np.int32)


_RELEASE_ALL = """
    UPDATE quarantined_bars SET released_at = clock_timestamp(), released_by_run = %(run)s
    WHERE symbol = %(symbol)s AND layer = %(layer)s AND ts >= %(start)s AND ts < %(end)s
      AND released_at IS NULL
"""

_STAGING = """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_rejects (
        ts timestamptz, stamp timestamptz, open bigint, high bigint, low bigint, close bigint,
        volume bigint, contract integer, rules integer, origin integer, superseded boolean
    ) ON COMMIT DELETE ROWS
"""

_COPY = sql.SQL("COPY staged_rejects FROM STDIN (FORMAT BINARY)")

# Bars are compared as whole records, in which a null equals a null, and numbered where a file holds
# the same one several times. A full join is never done row by row, whatever the server guesses of
# their number.
_QUARANTINE = """
    WITH incoming AS MATERIALIZED (
        SELECT bar.*, names.file_name, bar AS identity,
               row_number() OVER (PARTITION BY bar) AS copy
        FROM staged_rejects s
        CROSS JOIN LATERAL (SELECT (%(names)s::text[])[s.origin + 1] AS file_name) AS names
        CROSS JOIN LATERAL (
            SELECT s.ts, s.open, s.high, s.low, s.close, s.volume,
                   (%(contracts)s::text[])[s.contract + 1] AS contract,
                   string_to_array((%(rules)s::text[])[s.rules + 1], ' ') AS rules,
                   (%(hashes)s::text[])[s.origin + 1] AS file_sha256) AS bar
        WHERE NOT s.superseded
    ), present AS MATERIALIZED (
        SELECT q.id, q.ts, bar AS identity,
               row_number() OVER (PARTITION BY bar ORDER BY q.id) AS copy
        FROM quarantined_bars q
        CROSS JOIN LATERAL (
            SELECT q.ts, q.open, q.high, q.low, q.close, q.volume, q.contract, q.rules,
                   q.file_sha256) AS bar
        WHERE q.symbol = %(symbol)s AND q.layer = %(layer)s
          AND q.ts >= %(start)s AND q.ts < %(end)s AND q.released_at IS NULL
    ), compared AS MATERIALIZED (
        SELECT i.*, i.ts IS NULL AS gone, p.id AS present_id
        FROM incoming i
        FULL JOIN present p ON p.ts = i.ts AND p.copy = i.copy AND p.identity = i.identity
    ), released AS (
        UPDATE quarantined_bars q SET released_at = clock_timestamp(), released_by_run = %(run)s
        FROM compared c
        WHERE c.gone AND q.id = c.present_id
    )
    INSERT INTO quarantined_bars (layer, symbol, ts, open, high, low, close, volume, contract,
        rules, file_name, file_sha256, source, ingestion_run_id)
    SELECT %(layer)s, %(symbol)s, ts, open, high, low, close, volume, contract,
           rules, file_name, file_sha256, %(source)s, %(run)s
    FROM compared
    WHERE present_id IS NULL
    ORDER BY ts
"""

_SUPERSEDE = """
    INSERT INTO market_bars_revisions (layer, symbol, ts, open, high, low, close, volume, contract,
        source, ingestion_run_id, kind, file_name, file_sha256)
    SELECT %(layer)s, %(symbol)s, stamp, trim_scale(open * 0.000000001),
           trim_scale(high * 0.000000001), trim_scale(low * 0.000000001),
           trim_scale(close * 0.000000001), volume, (%(contracts)s::text[])[contract + 1],
           %(source)s, %(run)s, 'superseded', (%(names)s::text[])[origin + 1],
           (%(hashes)s::text[])[origin + 1]
    FROM staged_rejects WHERE superseded
    ORDER BY ts
    ON CONFLICT DO NOTHING
"""
