"""Which dates the signal reads, and which of its results are in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SYMBOLS = ("GLBX.MDP3:NQ", "GLBX.MDP3:ES", "XNAS.ITCH:QQQ")  # the last one is not registered
DAYS = tuple(date(2024, 2, 27) + timedelta(days=n) for n in range(5))


@dataclass(frozen=True, slots=True)
class Layer:
    """What is known of one layer of a date."""

    complete: bool
    fingerprint: int
    severity: str
    passed: bool
    source: str | None = None

    def is_fine(self) -> bool:
        return self.passed or self.severity == "WARN"


layers = st.builds(
    Layer,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from(["WARN", "ERROR"]),
    st.booleans(),
    st.sampled_from([None, "legacy", "databento_api"]),
)
dates = st.dictionaries(
    st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(DAYS)),
    st.tuples(st.none() | layers, st.none() | layers),
)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


def _store(connection: psycopg.Connection, symbol: str, day: date, name: str, layer: Layer) -> None:
    connection.execute(
        "INSERT INTO bar_dates (symbol, date, layer, state, fingerprint, completed_at, source) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            symbol,
            day,
            name,
            "complete" if layer.complete else "writing",
            layer.fingerprint,
            day if layer.complete else None,
            layer.source if name == "clean" else "dbn_files",
        ),
    )
    connection.execute(
        "INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed) "
        "VALUES (%(symbol)s, %(day)s, %(asset)s, 'judged', %(severity)s, %(passed)s), "
        "(%(symbol)s, %(day)s, %(asset)s, 'also', 'ERROR', true), "
        "(%(symbol)s, %(day)s, %(asset)s || '_made_of', 'later', 'ERROR', false)",
        {
            "symbol": symbol,
            "day": day,
            "asset": f"{name}_bars",
            "severity": layer.severity,
            "passed": layer.passed,
        },
    )


def _chosen(legacy: Layer | None, clean: Layer | None) -> tuple[str, int] | None:
    broken = legacy is not None and not legacy.is_fine()
    for name, layer in (("clean", clean), ("legacy", legacy)):
        if layer is not None and layer.complete and layer.is_fine():
            if broken and (name == "legacy" or layer.source != "databento_api"):
                continue
            return name, layer.fingerprint
    return None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(dates, st.none() | st.sampled_from(DAYS))
def test_selected_dates_are_the_clean_ones_else_the_legacy_ones(
    connection: psycopg.Connection,
    known: dict[tuple[str, date], tuple[Layer | None, Layer | None]],
    history_start: date | None,
) -> None:
    connection.execute(
        "UPDATE symbol_registry SET history_start = %s WHERE root = 'NQ'", (history_start,)
    )
    for (symbol, day), (legacy, clean) in known.items():
        for name, layer in (("legacy", legacy), ("clean", clean)):
            if layer is not None:
                _store(connection, symbol, day, name, layer)
    found = connection.execute(
        "SELECT symbol, date, layer, fingerprint, history_fingerprint FROM selected_bar_dates"
    ).fetchall()
    connection.rollback()

    expected = []
    for symbol in SYMBOLS:
        bounded = history_start is not None and symbol == SYMBOLS[0]
        chosen = [
            (symbol, day, *choice)
            for day in DAYS
            if (not bounded or history_start is None or day >= history_start)
            and (choice := _chosen(*known.get((symbol, day), (None, None)))) is not None
        ]
        sums = accumulate(row[3] for row in chosen)
        expected += [(*row, total) for row, total in zip(chosen, sums, strict=True)]
    assert sorted(found) == sorted(expected)


def _compute_signal(connection: psycopg.Connection) -> None:
    for number, day in enumerate(DAYS, 1):
        _store(connection, SYMBOLS[0], day, "clean", Layer(True, number, "ERROR", True))
    connection.execute(
        "INSERT INTO signal_dates (symbol, date, bar_count, triangle_count, history_fingerprint, "
        "rules, logic_version) SELECT symbol, date, 1, 0, history_fingerprint, "
        "signal_rules(symbol), '1' FROM selected_bar_dates"
    )


def _in_doubt(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT date, reason FROM signal_dates_in_doubt ORDER BY date"
    ).fetchall()


CHANGED = "bars changed on this date or before it"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("SELECT", []),
        ("UPDATE symbol_registry SET tick_size = 9, is_active = false, roll_rule = 'c'", []),
        ("UPDATE symbol_registry SET price_floor = 1000.000", []),
        ("UPDATE symbol_registry SET aligned_timeframes = '{1d,4h,1h,15m,5m,5m}'", []),
        ("UPDATE symbol_registry SET require_engulfing = true WHERE root = 'ES'", []),
        (
            "UPDATE bar_dates SET fingerprint = 77 WHERE date = '2024-02-29'",
            [(day, CHANGED) for day in DAYS[2:]],
        ),
        (
            "UPDATE bar_dates SET state = 'writing', completed_at = NULL WHERE date = '2024-03-01'",
            [(DAYS[3], "bars are no longer selected"), (DAYS[4], CHANGED)],
        ),
        (
            "UPDATE data_quality_results SET passed = false WHERE date = '2024-03-02'",
            [(DAYS[4], "bars are no longer selected")],
        ),
        (
            "UPDATE symbol_registry SET history_start = '2024-02-28'",
            [(DAYS[0], "bars are no longer selected"), *((day, CHANGED) for day in DAYS[1:])],
        ),
        (
            "DELETE FROM symbol_registry",
            [(day, "rules changed") for day in DAYS],
        ),
    ],
    ids=range(10),
)
def test_a_change_puts_in_doubt_what_was_computed_from_it(
    connection: psycopg.Connection, change: str, expected: list[tuple[object, ...]]
) -> None:
    _compute_signal(connection)
    assert _in_doubt(connection) == []

    connection.execute(change.encode())

    assert _in_doubt(connection) == expected


@pytest.mark.parametrize(
    "setting",
    [
        "higher_timeframe_anchor = 'utc'",
        "session_profile = 'other'",
        "price_floor = 1",
        "price_floor = NULL",
        "discontinuity_points = 1",
        "small_range_points = 1",
        "big_gap_points = 1",
        "flat_discontinuity_points = 1",
        "require_engulfing = true",
        "require_sweep_engulfing = true",
        "htf_aligned_only = true",
        "aligned_timeframes = '{1d}'",
        "history_start = '2024-02-01'",
    ],
)
def test_every_setting_that_changes_a_result_changes_the_rules(
    connection: psycopg.Connection, setting: str
) -> None:
    _compute_signal(connection)

    connection.execute(f"UPDATE symbol_registry SET {setting}".encode())

    assert _in_doubt(connection) == [(day, "rules changed") for day in DAYS]


def test_the_rules_read_the_same_in_every_session(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE symbol_registry SET history_start = '2024-02-03'")
    rules = "SELECT signal_rules('GLBX.MDP3:NQ')"
    plain = connection.execute(rules).fetchone()

    connection.execute("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'")

    assert plain is not None
    assert '"history_start": "2024-02-03"' in plain[0]
    assert connection.execute(rules).fetchone() == plain
