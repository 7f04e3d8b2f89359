"""What the vendor says of the days of a dataset: from files that jobs left, or from its API.

Answers come in any order and more than once. Which one stands is fixed by the answers themselves,
so that a rebuild, or another order of reading, ends with the same table.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Connection


def record(
    connection: Connection, dataset: str, conditions: Iterable[DayCondition], origin: str
) -> None:
    """Keep what `origin` says of days of `dataset`, unless something later is known.

    Later is what has the later `last_modified` (none is the earliest); of two answers with the
    same one the worse is believed.
    """
    # Of the vendor's four words the worse one comes later in the alphabet.
    told = sorted(conditions, key=lambda one: (one.last_modified or date.min, one.condition))
    latest = {one.day: one for one in told}.values()
    connection.execute(
        """
        INSERT INTO dataset_conditions AS known (dataset, date, condition, last_modified, origin)
        SELECT %s, t.date, t.condition, t.last_modified, %s
        FROM unnest(%s::date[], %s::text[], %s::date[]) AS t (date, condition, last_modified)
        ON CONFLICT (dataset, date) DO UPDATE SET
            condition = excluded.condition, last_modified = excluded.last_modified,
            origin = excluded.origin, recorded_at = excluded.recorded_at
        WHERE (coalesce(excluded.last_modified, '-infinity'), excluded.condition COLLATE "C",
               excluded.origin COLLATE "C")
            > (coalesce(known.last_modified, '-infinity'), known.condition COLLATE "C",
               known.origin COLLATE "C")
        """,
        (
            dataset,
            origin,
            [one.day for one in latest],
            [one.condition for one in latest],
            [one.last_modified for one in latest],
        ),
    )


def of_dates(connection: Connection, dataset: str, dates: DateRange) -> dict[date, DayCondition]:
    """What is known of the days of `dataset` within `dates`."""
    found = connection.execute(
        """
        SELECT date, condition, last_modified FROM dataset_conditions
        WHERE dataset = %s AND date BETWEEN %s AND %s ORDER BY date
        """,
        (dataset, dates.start, dates.end),
    )
    return {row[0]: DayCondition(*row) for row in found}
