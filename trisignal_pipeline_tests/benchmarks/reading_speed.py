"""How fast questions are answered, and in how much memory a year goes into a file."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query import quality
from trisignal_pipeline.query.bar_series import bar_series
from trisignal_pipeline.query.daily_summary import daily_summary
from trisignal_pipeline.query.dataset import dataset
from trisignal_pipeline.query.fingerprint import fingerprint
from trisignal_pipeline.query.forms import WRITERS
from trisignal_pipeline.query.series import Series
from trisignal_pipeline.query.signals import bias, triangles
from trisignal_pipeline.query.world import world
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.daily_summaries import keep_daily_summaries
from trisignal_pipeline_tests.benchmarks.bars_speed import own_database
from trisignal_pipeline_tests.benchmarks.measurement import Measured, best_of
from trisignal_pipeline_tests.query.stored_market import (
    NQ,
    generated,
    store_clean,
    store_signals,
)

YEAR = DateRange(date(2023, 1, 1), date(2023, 12, 31))
MONTH = DateRange(date(2023, 6, 1), date(2023, 6, 30))
DAY = DateRange(date(2023, 6, 14), date(2023, 6, 14))
PAGE = 50_000


def milliseconds(what: str, ask: Callable[[], object], at_most: float | None = None) -> Measured:
    ask()
    return Measured(what, best_of(5, ask) * 1000, "ms", at_most=at_most)


def answers(connection: Connection, minute: int) -> list[Measured]:
    market = registry.market(connection, NQ)

    def page(series: Series) -> Callable[[], object]:
        return lambda: series.page(connection, PAGE)

    return [
        milliseconds("a day of 1-minute bars", page(bar_series(market, "1m", DAY)), 20),
        milliseconds("a day of biases", page(bias(NQ, DAY)), 20),
        milliseconds("a day of triangles", page(triangles(NQ, DAY)), 20),
        milliseconds("a day of the dataset", page(dataset(NQ, DAY)), 40),
        milliseconds("a page of 50,000 bars", page(bar_series(market, "1m", YEAR))),
        milliseconds("a page of 50,000 rows of the dataset", page(dataset(NQ, YEAR))),
        milliseconds("the state of the world", lambda: world(connection, market, minute), 20),
        milliseconds("the fingerprint of a day", lambda: fingerprint(connection, NQ, DAY), 5),
        milliseconds(
            "coverage of a year", lambda: quality.coverage(connection, market, YEAR).whole()
        ),
        milliseconds(
            "alignment of a year", lambda: quality.alignment(connection, NQ, YEAR).whole()
        ),
        milliseconds(
            "determinism of a month", lambda: quality.determinism(connection, market, MONTH).whole()
        ),
    ]


def year_in_files(connection: Connection, rows: int) -> list[Measured]:
    measured = []
    before = _peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        for form, write in WRITERS.items():

            def to_file(
                name: str = form, write: Callable[..., None] = write, folder: str = folder
            ) -> None:
                with (Path(folder) / name).open("wb") as out:
                    write(dataset(NQ, YEAR).table(connection), out)

            label = f"a year of the dataset, {rows:,} rows, as {form}"
            measured.append(Measured(label, best_of(1, to_file), "s"))
    return [
        *measured,
        Measured("memory that it takes, all four", _peak_mb() - before, "MB", at_most=150),
    ]


def measure() -> list[Measured]:
    """A year of NQ, about all of its minutes, its signal computed."""
    bars = generated(YEAR)
    with own_database() as database:
        store_clean(database, bars, YEAR)
        store_signals(database, YEAR)
        with database.connect("benchmark") as connection:
            connection.execute("DELETE FROM daily_summaries")
        with database.answering(0).connect("benchmark", one_instant=True) as connection:
            measured = year_in_files(connection, len(bars))
            measured += answers(connection, int(bars.ts[len(bars) // 2]))
            live = milliseconds(
                "days of a year in short, nothing kept",
                lambda: daily_summary(connection, NQ, YEAR).whole(),
            )
        with database.connect("benchmark") as connection:
            keep_daily_summaries(connection, NQ)
        with database.answering(0).connect("benchmark", one_instant=True) as connection:
            kept = milliseconds(
                "the same from what is kept", lambda: daily_summary(connection, NQ, YEAR).whole()
            )
    return [*measured, live, kept]


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
