"""Columns over the wire: numpy on this side, ordinary SQL on the other."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from trisignal_pipeline.errors import InvalidBarsError
from trisignal_pipeline.market.dates import utc
from trisignal_pipeline.storage.binary_copy import (
    copy_in,
    copy_out,
    nanoseconds,
    numerics,
    timestamps,
)
from trisignal_pipeline.storage.connection import Connection

COPY_ROWS = sql.SQL("COPY copied FROM STDIN (FORMAT BINARY)")
LAYOUT = [("a", "i2"), ("b", "i4"), ("c", "i8"), ("d", "?"), ("e", "S3"), ("f", "i8")]


@pytest.fixture
def copied(connection: Connection) -> Connection:
    """A connection with a table of every type a column can have."""
    connection.execute(
        "CREATE TEMPORARY TABLE copied (a smallint, b integer, c bigint, d boolean, e text, "
        "f timestamptz)"
    )
    return connection


def _signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


# As far as nanoseconds in 64 bits reach: the years 1677 to 2262.
microseconds = st.integers(-(2**63) // 1000 + 1, 2**63 // 1000)

rows = st.lists(
    st.tuples(
        _signed(16),
        _signed(32),
        _signed(64),
        st.booleans(),
        st.text("abcXYZ ~", min_size=3, max_size=3),
        microseconds,
    ),
    max_size=20,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows)
def test_sql_sees_what_numpy_holds_and_gives_it_back(
    copied: Connection, made: list[tuple[int, int, int, bool, str, int]]
) -> None:
    copied.execute("TRUNCATE copied")
    table = np.array([(*row[:4], row[4].encode(), 0) for row in made], LAYOUT)
    instants = np.array([row[5] for row in made], np.int64)

    copy_in(
        copied,
        COPY_ROWS,
        {**{name: table[name] for name in "abcde"}, "f": timestamps(instants * 1000)},
    )

    shown = copied.execute(
        "SELECT a, b, c, d, e, (extract(epoch FROM f) * 1000000)::bigint FROM copied ORDER BY ctid"
    ).fetchall()
    assert shown == made
    read = copy_out(copied, sql.SQL("SELECT * FROM copied ORDER BY ctid"), {}, LAYOUT)
    assert read[list("abcde")].tolist() == table[list("abcde")].tolist()
    assert nanoseconds(read["f"]).tolist() == (instants * 1000).tolist()


units = st.one_of(
    _signed(64),
    st.sampled_from([0, 1, -1, 10**9, -(10**13), 10**17, -(2**63), 2**63 - 1]),
    st.integers(0, 10**6).map(lambda quarters: quarters * 250_000_000),
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(units, max_size=20))
def test_a_numeric_is_the_exact_decimal_in_as_few_digits_as_it_has(
    connection: Connection, made: list[int]
) -> None:
    connection.execute("CREATE TEMPORARY TABLE IF NOT EXISTS exact (price numeric)")
    connection.execute("TRUNCATE exact")

    copy_in(
        connection,
        sql.SQL("COPY exact FROM STDIN (FORMAT BINARY)"),
        {"price": numerics(np.array(made, np.int64))},
    )

    shown = connection.execute("SELECT price::text FROM exact ORDER BY ctid").fetchall()
    assert [Decimal(text) for (text,) in shown] == [Decimal(unit).scaleb(-9) for unit in made]
    assert [text for (text,) in shown] == [
        text.rstrip("0").rstrip(".") if "." in text else text for (text,) in shown
    ]
    # The value an arithmetic of the server's own would have made, to the byte.
    assert connection.execute(
        "SELECT bool_and(numeric_send(price) = numeric_send(trim_scale(unit * 0.000000001))) "
        "FROM unnest(%s::numeric[]) WITH ORDINALITY AS u (unit, number) "
        "JOIN (SELECT price, row_number() OVER (ORDER BY ctid) AS number FROM exact) AS e "
        "USING (number)",
        (made,),
    ).fetchone() == (True if made else None,)


def test_parts_of_a_copy_may_hold_texts_of_different_lengths(connection: Connection) -> None:
    connection.execute("CREATE TEMPORARY TABLE named (number integer, name text)")

    copy_in(
        connection,
        sql.SQL("COPY named FROM STDIN (FORMAT BINARY)"),
        {"number": np.array([1, 2], np.int32), "name": np.array([b"NQZ4", b"NQH5"])},
        {"number": np.array([3], np.int32), "name": np.empty(1, "V0")},
        {"number": np.array([4], np.int32), "name": np.array([b"#1234567890"])},
    )

    assert connection.execute("SELECT * FROM named ORDER BY number").fetchall() == [
        (1, "NQZ4"),
        (2, "NQH5"),
        (3, ""),
        (4, "#1234567890"),
    ]


@pytest.mark.parametrize(
    "instant", [datetime(1969, 7, 20, 20, 17, tzinfo=UTC), datetime(2024, 6, 17, 0, 1, tzinfo=UTC)]
)
def test_timestamps_mean_the_same_instant_to_psycopg(
    connection: Connection, instant: datetime
) -> None:
    read = copy_out(
        connection, sql.SQL("SELECT {}::timestamptz").format(instant), {}, [("ts", "i8")]
    )

    assert [utc(ts) for ts in nanoseconds(read["ts"]).tolist()] == [instant]


def test_parameters_are_bound(connection: Connection) -> None:
    read = copy_out(
        connection,
        sql.SQL("SELECT x::bigint FROM generate_series(1, %(most)s) AS x"),
        {"most": 3},
        [("x", "i8")],
    )

    assert read["x"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT NULL::bigint",
        # As many bytes as three whole rows.
        "SELECT NULL::bigint FROM generate_series(1, 7)",
        "SELECT x FROM (VALUES (1::bigint), (NULL), (3)) AS v (x)",
        "SELECT 1::integer",
    ],
)
def test_a_null_or_another_width_is_refused(connection: Connection, query: str) -> None:
    with pytest.raises(InvalidBarsError, match="NULL or a text of unexpected length"):
        copy_out(connection, sql.SQL(query), {}, [("x", "i8")])


@pytest.mark.parametrize("text", ["ab", "abcd", "äbc"])
def test_a_text_of_another_length_is_refused(connection: Connection, text: str) -> None:
    with pytest.raises(InvalidBarsError, match="unexpected length"):
        copy_out(connection, sql.SQL("SELECT {}::text").format(text), {}, [("x", "S3")])


def test_columns_come_back_writable_and_in_native_order(connection: Connection) -> None:
    read = copy_out(connection, sql.SQL("SELECT 258::bigint"), {}, [("x", "i8")])["x"]

    assert read.dtype.isnative
    read[0] += 1
    assert read.tolist() == [259]
