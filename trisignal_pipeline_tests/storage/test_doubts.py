"""Which stored signals are in doubt: those that rest on other bars or rules than there are now."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from trisignal_pipeline.market.dates import DateRange, date_of_ns
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.bars import LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.doubts import dates_in_doubt
from trisignal_pipeline_tests.storage.stored_bars import NQ, days_from, walk
from trisignal_pipeline_tests.storage.stored_signals import compute, store_days

WEEK = days_from(date(2023, 12, 29), 5)  # over a weekend and the turn of a year
ROWS = walk(WEEK, seed=11, share=0.03)
MIDDLE = WEEK.start + timedelta(days=2)
LATER = DateRange(MIDDLE, WEEK.end)


@pytest.fixture
def computed(database: Database, connection: Connection) -> None:
    store_days(database, ROWS, WEEK)
    compute(connection, WEEK)
    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
def test_the_same_bars_again_put_nothing_in_doubt(
    database: Database, connection: Connection
) -> None:
    store_days(database, ROWS, WEEK)

    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
def test_a_corrected_volume_puts_nothing_in_doubt(
    database: Database, connection: Connection
) -> None:
    store_days(database, [row._replace(volume=row.volume + 1) for row in ROWS], WEEK)

    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("change", ["close", "minute gone", "contract", "layer", "unfinished"])
def test_a_change_puts_its_date_and_all_later_ones_in_doubt_until_they_are_computed(
    database: Database, connection: Connection, change: str
) -> None:
    only = DateRange(MIDDLE, MIDDLE)
    first = next(row for row in ROWS if date_of_ns(row.ts) == MIDDLE)
    changed = {
        "close": [first._replace(close=first.low)],
        "minute gone": [],
        "contract": [first._replace(contract="NQU4")],
    }
    if change in changed:
        store_days(database, sorted([*(r for r in ROWS if r != first), *changed[change]]), only)
    elif change == "layer":
        store_days(database, ROWS, only, LEGACY)
        connection.execute("DELETE FROM bar_dates WHERE date = %s AND layer = 'clean'", (MIDDLE,))
    else:
        connection.execute(
            "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = %s", (MIDDLE,)
        )

    assert dates_in_doubt(connection, NQ) == list(LATER)
    compute(connection, LATER)
    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
def test_an_earlier_date_that_appears_puts_everything_in_doubt(
    database: Database, connection: Connection
) -> None:
    before = DateRange(date(2023, 12, 28), date(2023, 12, 28))
    store_days(database, walk(before, seed=12), before)

    assert dates_in_doubt(connection, NQ) == list(WEEK)


@pytest.mark.usefixtures("computed")
def test_a_later_date_that_appears_puts_nothing_in_doubt(
    database: Database, connection: Connection
) -> None:
    after = DateRange(date(2024, 1, 3), date(2024, 1, 3))
    store_days(database, walk(after, seed=12), after)

    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize(
    ("settings", "in_doubt"),
    [
        ({"higher_timeframe_anchor": "utc"}, True),
        ({"discontinuity_points": "400"}, True),
        ({"require_engulfing": "true"}, True),
        ({"history_start": "2023-12-30"}, True),
        ({"tick_size": "0.5"}, False),
        ({"price_floor": "1000.0"}, False),
    ],
)
def test_other_rules_in_the_registry_put_everything_in_doubt(
    connection: Connection, settings: dict[str, object], in_doubt: bool
) -> None:
    registry.set_symbol(connection, NQ, settings)

    assert dates_in_doubt(connection, NQ) == (list(WEEK) if in_doubt else [])
    compute(connection, WEEK)
    assert dates_in_doubt(connection, NQ) == []
    registry.set_symbol(connection, "GLBX.MDP3:ES", settings)
    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
def test_another_version_of_the_logic_puts_its_dates_in_doubt(connection: Connection) -> None:
    connection.execute(
        "UPDATE signal_dates SET logic_version = '0' WHERE date = ANY(%s)",
        ([WEEK.start, WEEK.end],),
    )

    assert dates_in_doubt(connection, NQ) == [WEEK.start, WEEK.end]
    compute(connection, WEEK)
    assert dates_in_doubt(connection, NQ) == []


@pytest.mark.usefixtures("computed")
def test_computing_an_earlier_date_alone_leaves_later_ones_in_doubt(
    database: Database, connection: Connection
) -> None:
    store_days(database, [row._replace(close=row.low) for row in ROWS], WEEK)

    compute(connection, DateRange(WEEK.start, MIDDLE))

    assert dates_in_doubt(connection, NQ) == list(LATER)[1:]
