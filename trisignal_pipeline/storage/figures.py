"""What a figure of the pipeline's health is, and keeping figures over time.

A figure has a name that ends with its unit, labels that say of what it is, and a value: what a
time series of any monitoring system is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from trisignal_pipeline.storage.connection import Connection, rows

GROWTH_OVER = timedelta(days=7)
"""Growth a day is that since the oldest measurement of so long ago."""

_LEAST_GROWTH_OVER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured.

    name     in lower case, the unit at its end if it has one, such as table_bytes
    unit     bytes, minutes, seconds, ratio (0 to 1); empty for a count
    help     what it says, in one line
    labels   the names of what tells its values apart, such as table and symbol
    """

    name: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of a figure; `labels` are the values of the figure's labels, in their order."""

    figure: Figure
    labels: tuple[str, ...]
    value: float

    @property
    def subject(self) -> str:
        """The labels as one text, as measurements are kept under."""
        return " ".join(self.labels)


GROWTH = Figure(
    "growth_bytes", "bytes", "growth of a table with its indexes since the last measurement",
    ("table",),
)  # fmt: skip
GROWTH_A_DAY = Figure(
    "growth_a_day_bytes", "bytes",
    f"growth of a table with its indexes a day, over up to {GROWTH_OVER.days} days", ("table",),
)  # fmt: skip


def keep(connection: Connection, measured: Iterable[Measured]) -> datetime:
    """Store one measurement, and return its time; the caller commits."""
    figures = list(measured)
    found = connection.execute(
        """
        WITH taken AS (SELECT clock_timestamp() AS at), stored AS (
            INSERT INTO health_figures (measured_at, figure, subject, value)
            SELECT taken.at, m.figure, m.subject, m.value
            FROM taken, unnest(%s::text[], %s::text[], %s::float8[]) AS m (figure, subject, value)
        )
        SELECT at FROM taken
        """,
        (
            [one.figure.name for one in figures],
            [one.subject for one in figures],
            [float(one.value) for one in figures],
        ),
    ).fetchone()
    assert found is not None
    moment: datetime = found[0]
    return moment


def growth(connection: Connection, sizes: Sequence[Measured]) -> list[Measured]:
    """How tables grew, given their present table_bytes and index_bytes.

    Nothing of a table that was never measured, and nothing a day where the measurements lie less
    than an hour apart.
    """
    now: dict[str, float] = {}
    for size in sizes:
        now[size.subject] = now.get(size.subject, 0) + size.value
    before = rows(
        connection,
        """
        WITH sizes AS (
            SELECT measured_at, subject, sum(value) AS bytes FROM health_figures
            WHERE figure IN ('table_bytes', 'index_bytes') AND subject = ANY(%(tables)s)
            GROUP BY measured_at, subject
        ), last AS (
            SELECT DISTINCT ON (subject) * FROM sizes ORDER BY subject, measured_at DESC
        ), oldest AS (
            SELECT DISTINCT ON (subject) * FROM sizes
            WHERE measured_at >= now() - %(over)s ORDER BY subject, measured_at
        )
        SELECT subject, last.bytes AS last_bytes, oldest.bytes AS oldest_bytes,
               extract(epoch FROM now() - oldest.measured_at)::float8 AS seconds
        FROM last LEFT JOIN oldest USING (subject) ORDER BY subject
        """,
        tables=sorted(now),
        over=GROWTH_OVER,
    )
    grown = []
    for row in before:
        table = (row["subject"],)
        bytes_now = now[row["subject"]]
        grown.append(Measured(GROWTH, table, bytes_now - row["last_bytes"]))
        if row["seconds"] is not None and row["seconds"] >= _LEAST_GROWTH_OVER.total_seconds():
            days = row["seconds"] / timedelta(days=1).total_seconds()
            grown.append(Measured(GROWTH_A_DAY, table, (bytes_now - row["oldest_bytes"]) / days))
    return grown
