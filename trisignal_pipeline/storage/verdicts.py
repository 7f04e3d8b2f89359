"""The verdicts of checks: the latest one on every partition, the record that outlives event logs.

A date that failed with severity ERROR is structurally broken: nothing downstream reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from trisignal_pipeline.judging import Verdict
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class DateVerdict:
    """What a check found on one date of one asset of a symbol."""

    symbol: str
    date: date
    asset: str
    check: str
    description: str
    verdict: Verdict
    blocking: bool

    @property
    def severity(self) -> str:
        """ERROR keeps the date from everything downstream; WARN doesn't."""
        return "ERROR" if self.blocking else "WARN"


def record_verdicts(
    connection: Connection, verdicts: Sequence[DateVerdict], dagster_run_id: str | None
) -> None:
    """Keep `verdicts` as the latest ones on their partitions."""
    connection.execute(
        """
        INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed,
            row_count, failed_count, description, failure_cases, dagster_run_id, checked_at)
        SELECT v.*, %s, now()
        FROM unnest(%s::text[], %s::date[], %s::text[], %s::text[], %s::text[], %s::bool[],
                    %s::bigint[], %s::bigint[], %s::text[], %s::jsonb[]) AS v
        ON CONFLICT (symbol, date, asset, check_name) DO UPDATE SET
            severity = excluded.severity, passed = excluded.passed,
            row_count = excluded.row_count, failed_count = excluded.failed_count,
            description = excluded.description, failure_cases = excluded.failure_cases,
            dagster_run_id = excluded.dagster_run_id, checked_at = excluded.checked_at
        """,
        (
            dagster_run_id,
            [v.symbol for v in verdicts],
            [v.date for v in verdicts],
            [v.asset for v in verdicts],
            [v.check for v in verdicts],
            [v.severity for v in verdicts],
            [v.verdict.passed for v in verdicts],
            [v.verdict.rows for v in verdicts],
            [v.verdict.failed for v in verdicts],
            [v.description for v in verdicts],
            [json.dumps(v.verdict.cases) for v in verdicts],
        ),
    )


def broken_dates(
    connection: Connection, symbol: str, asset: str, dates: DateRange
) -> dict[date, str]:
    """The dates on which `asset` is structurally broken, each with the check that says so."""
    found = connection.execute(
        """
        SELECT date, string_agg(check_name, ', ' ORDER BY check_name) FROM data_quality_results
        WHERE symbol = %s AND asset = %s AND date BETWEEN %s AND %s
          AND NOT passed AND severity = 'ERROR'
        GROUP BY date
        """,
        (symbol, asset, dates.start, dates.end),
    )
    return dict(found.fetchall())
