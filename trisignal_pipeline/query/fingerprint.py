"""A text that stands for the state of what is stored: another one whenever an answer may differ."""

from __future__ import annotations

from datetime import timedelta

from trisignal_pipeline.market.dates import date_of_ns
from trisignal_pipeline.query.series import Span
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.storage.connection import Connection, rows

AROUND = timedelta(days=14)
"""A higher bar may begin so long before a span or end so long after it, holidays between."""


def fingerprint(connection: Connection, symbol: str, span: Span, around: timedelta = AROUND) -> str:
    """32 hexadecimal digits that change with what is stored of `symbol` on the dates of `span`.

    Dates up to `around` before and after it count as well; none need for what is told by minutes.

    In it are the versions of bars and signals of each date, the verdicts, and the registry's row.
    Equal fingerprints mean equal answers; answers may be equal where fingerprints are not.
    """
    [found] = rows(
        connection,
        """
        WITH versions AS (
            SELECT concat_ws(',', 'bars', date, layer, state, bar_count, fingerprint,
                             completed_at, changed_at, expected_minutes, suspicious_minutes,
                             no_trade_minutes) AS version
            FROM bar_dates WHERE symbol = %(symbol)s AND date BETWEEN %(first)s AND %(last)s
            UNION ALL
            SELECT concat_ws(',', 'signal', date, completed_at, triangle_count, withdrawn,
                             history_fingerprint, rules, logic_version)
            FROM signal_dates WHERE symbol = %(symbol)s AND date BETWEEN %(first)s AND %(last)s
            UNION ALL
            SELECT concat_ws(',', 'verdict', date, asset, check_name, passed, checked_at)
            FROM data_quality_results
            WHERE symbol = %(symbol)s AND date BETWEEN %(first)s AND %(last)s
            UNION ALL
            SELECT concat_ws(',', 'market', r) FROM symbol_registry r
            WHERE internal_symbol = %(symbol)s
        )
        SELECT md5(concat_ws(';', %(logic)s::text,
                             string_agg(version, ';' ORDER BY version COLLATE "C"))) AS fingerprint
        FROM versions
        """,
        symbol=symbol,
        first=date_of_ns(span.start_ns) - around,
        last=date_of_ns(span.end_ns - 1) + around,
        logic=LOGIC_VERSION,
    )
    return str(found["fingerprint"])
